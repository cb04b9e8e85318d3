import type { Dot } from "./pens.js";

/** Values on a grid: columns along x, rows along y, both ends included. */
export interface Grid {
  readonly x: readonly [number, number];
  readonly y: readonly [number, number];
  readonly columns: number;
  readonly rows: number;
  value(x: number, y: number): number;
}

type Pair = readonly [string, string];

/** Where a level crosses the sides of the grid's cells, by name, and the pairs of crossings that a line joins across a cell. */
const crossings = ({ x: [x0, x1], y: [y0, y1], columns, rows, value }: Grid, level: number) => {
  const xAt = (i: number): number => x0 + ((x1 - x0) * i) / columns;
  const yAt = (j: number): number => y0 + ((y1 - y0) * j) / rows;
  const heights = Array.from({ length: rows + 1 }, (_, j) =>
    Array.from({ length: columns + 1 }, (_, i) => value(xAt(i), yAt(j)) - level),
  );
  const places = new Map<string, Dot>();
  /** The crossing on the side from one corner to another, if there is one: its name. */
  const crossing = (i: number, j: number, k: number, l: number): readonly string[] => {
    const [a = 0, b = 0] = [heights[j]?.[i], heights[l]?.[k]];
    if (a < 0 === b < 0) return [];
    const name = `${i},${j},${k},${l}`;
    const share = a / (a - b);
    places.set(name, [xAt(i) + share * (xAt(k) - xAt(i)), yAt(j) + share * (yAt(l) - yAt(j))]);
    return [name];
  };
  const pairs: Pair[] = [];
  for (let j = 0; j < rows; j++)
    for (let i = 0; i < columns; i++) {
      const [a, b, c, d] = [
        ...crossing(i, j, i + 1, j),
        ...crossing(i + 1, j, i + 1, j + 1),
        ...crossing(i, j + 1, i + 1, j + 1),
        ...crossing(i, j, i, j + 1),
      ];
      // Two crossings, or four around a saddle, taken as two lines.
      if (a !== undefined && b !== undefined) pairs.push([a, b]);
      if (c !== undefined && d !== undefined) pairs.push([c, d]);
    }
  return { places, pairs };
};

/** Pairs joined from cell to cell: lines from end to end, and loops, whose first name comes again as the last. */
const chains = (pairs: readonly Pair[]): readonly (readonly string[])[] => {
  const neighbours = new Map<string, string[]>();
  for (const [a, b] of pairs) {
    neighbours.set(a, [...(neighbours.get(a) ?? []), b]);
    neighbours.set(b, [...(neighbours.get(b) ?? []), a]);
  }
  const left = new Set(neighbours.keys());
  const ends = [...neighbours].filter(([, around]) => around.length === 1).map(([name]) => name);
  const follow = (first: string): readonly string[] => {
    const chain: string[] = [];
    for (let next: string | undefined = first; next !== undefined; ) {
      chain.push(next);
      left.delete(next);
      next = neighbours.get(next)?.find((name) => left.has(name));
    }
    return chain;
  };
  const lines = ends.flatMap((end) => (left.has(end) ? [follow(end)] : []));
  const loops = [...neighbours.keys()].flatMap((name) => (left.has(name) ? [[...follow(name), name]] : []));
  return [...lines, ...loops];
};

/** The lines where a function has the value `level`, by marching squares: crossings are found by linear interpolation along cells' sides. */
export const contours = (grid: Grid, level: number): readonly (readonly Dot[])[] => {
  const { places, pairs } = crossings(grid, level);
  const placeOf = (name: string): readonly Dot[] => {
    const place = places.get(name);
    return place === undefined ? [] : [place];
  };
  return chains(pairs).map((names) => names.flatMap(placeOf));
};
