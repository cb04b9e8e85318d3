import type { Pack } from "./pack.js";

/**
 * Where attention is computed: no tree sees another, so trees share bins of equal size, and what attention costs grows with the size
 * of a bin and not with that of the pack.
 */
export interface Bins {
  /** B bins of L slots each. */
  readonly count: number;
  readonly size: number;
  /** [B, L] the pack's token in each slot; 0 where a slot is empty. */
  readonly slots: Int32Array;
  /** [T] the slot of each token. */
  readonly back: Int32Array;
}

/** Slots of a bin, where every tree fits into so few: fewer mean less waste inside a bin, and more bins. */
const SIZE = 32;

/** Each tree goes into the first bin that has room for it. A function of the trees' sizes and their order. */
export const binsOf = ({ root, ids }: Pick<Pack, "root" | "ids">): Bins => {
  const tokens = ids.length;
  const starts = root.filter((start, place) => start === place);
  const lengths = Array.from(starts, (start, i) => (starts[i + 1] ?? tokens) - start);
  const size = Math.max(Math.min(SIZE, tokens), ...lengths);
  const filled: number[] = [];
  const back = new Int32Array(tokens);
  lengths.forEach((length, tree) => {
    const open = filled.findIndex((used) => used + length <= size);
    const bin = open < 0 ? filled.length : open;
    const used = filled[bin] ?? 0;
    for (let i = 0; i < length; i++) back[(starts[tree] ?? 0) + i] = bin * size + used + i;
    filled[bin] = used + length;
  });
  const slots = new Int32Array(filled.length * size);
  back.forEach((slot, place) => {
    slots[slot] = place;
  });
  return { count: filled.length, size, slots, back };
};
