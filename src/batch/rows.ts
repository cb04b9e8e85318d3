import type { Pack } from "./pack.js";

/**
 * A pack's trees as rows padded on the right: what a graph takes that brings its own attention. A branch is a row with the context it
 * shares; branches that add no token to be computed are read off the context's row.
 */
interface Rows {
  /** R rows of L tokens. */
  readonly count: number;
  readonly length: number;
  /** [R, L] token ids; 0 behind a row's end. */
  readonly ids: Int32Array;
  /** [R, L] 1 for a token, 0 behind a row's end. */
  readonly real: Int32Array;
  /** [R, L] from 0 in every row. */
  readonly positions: Int32Array;
  /** [R, L] 1 in the second text of a pair, 0 elsewhere. */
  readonly types: Int32Array;
  /** [P] where the pack's places are: row·L + position. */
  readonly take: Int32Array;
}

export const rowsOf = ({
  ids,
  types,
  root,
  own,
  take,
}: Pick<Pack, "ids" | "types" | "root" | "own" | "take">): Rows => {
  /** Places of the pack in each row, in order. */
  const rows: (readonly number[])[] = [];
  const rowOf = new Int32Array(ids.length);
  for (let start = 0; start < ids.length; ) {
    let end = start;
    while (end < ids.length && root[end] === root[start]) end++;
    const places = Array.from({ length: end - start }, (_, i) => start + i);
    const shared = places.filter((place) => own[place] === start);
    const branches = [...new Set(places.slice(shared.length).map((place) => own[place] ?? 0))];
    for (const place of places) rowOf[place] = rows.length + Math.max(0, branches.indexOf(own[place] ?? 0));
    if (branches.length === 0) rows.push(shared);
    for (const branch of branches) rows.push([...shared, ...places.filter((place) => own[place] === branch)]);
    start = end;
  }
  const length = Math.max(0, ...rows.map((row) => row.length));
  const size = rows.length * length;
  const out = {
    ...{ ids: new Int32Array(size), real: new Int32Array(size), types: new Int32Array(size) },
    positions: Int32Array.from({ length: size }, (_, i) => i % length),
  };
  const at = new Int32Array(ids.length);
  rows.forEach((row, r) => {
    row.forEach((place, position) => {
      const cell = r * length + position;
      out.ids[cell] = ids[place] ?? 0;
      out.types[cell] = types[place] ?? 0;
      out.real[cell] = 1;
      if (rowOf[place] === r) at[place] = cell;
    });
  });
  return { count: rows.length, length, ...out, take: take.map((place) => at[place] ?? 0) };
};
