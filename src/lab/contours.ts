import type { Dot } from "./picture.js";

/** Values on a grid: columns along x, rows along y, both ends included. */
export interface Grid {
  readonly x: readonly [number, number];
  readonly y: readonly [number, number];
  readonly columns: number;
  readonly rows: number;
  value(x: number, y: number): number;
}

/**
 * The lines where a function has the value `level`, by marching squares: each cell's crossings, found by linear interpolation along its sides,
 * joined from cell to cell.
 */
export const contours = (
  { x: [x0, x1], y: [y0, y1], columns, rows, value }: Grid,
  level: number,
): readonly (readonly Dot[])[] => {
  const xs = Array.from({ length: columns + 1 }, (_, i) => x0 + ((x1 - x0) * i) / columns);
  const ys = Array.from({ length: rows + 1 }, (_, j) => y0 + ((y1 - y0) * j) / rows);
  const heights = ys.map((y) => xs.map((x) => value(x, y) - level));
  const height = (i: number, j: number): number => heights[j]?.[i] ?? Number.NaN;
  const crossings = new Map<string, Dot>();
  /** The crossing on the side from one corner to another, if there is one: its name. */
  const crossing = (i: number, j: number, k: number, l: number): string | undefined => {
    const [a, b] = [height(i, j), height(k, l)];
    if (a < 0 === b < 0) return undefined;
    const name = `${i},${j},${k},${l}`;
    const share = a / (a - b);
    const [[ax = 0, bx = 0], [ay = 0, by = 0]] = [
      [xs[i], xs[k]],
      [ys[j], ys[l]],
    ];
    crossings.set(name, [ax + share * (bx - ax), ay + share * (by - ay)]);
    return name;
  };
  const neighbours = new Map<string, string[]>();
  const join = (a: string, b: string): void => {
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const)
      neighbours.set(from, [...(neighbours.get(from) ?? []), to]);
  };
  for (let j = 0; j < rows; j++)
    for (let i = 0; i < columns; i++) {
      const sides = [
        crossing(i, j, i + 1, j),
        crossing(i + 1, j, i + 1, j + 1),
        crossing(i, j + 1, i + 1, j + 1),
        crossing(i, j, i, j + 1),
      ].flatMap((name) => name ?? []);
      // Two crossings, or four around a saddle, taken as two lines.
      const [a, b, c, d] = sides;
      if (a !== undefined && b !== undefined) join(a, b);
      if (c !== undefined && d !== undefined) join(c, d);
    }
  const left = new Set(neighbours.keys());
  const follow = (first: string): string[] => {
    const chain: string[] = [];
    for (let next: string | undefined = first; next !== undefined; ) {
      chain.push(next);
      left.delete(next);
      next = neighbours.get(next)?.find((name) => left.has(name));
    }
    return chain;
  };
  const lines: (readonly Dot[])[] = [];
  for (const first of neighbours.keys()) {
    if (!left.has(first)) continue;
    const there = follow(first);
    const back = neighbours.get(first)?.find((name) => left.has(name));
    const whole = back === undefined ? there : [...follow(back).reverse(), ...there];
    const isClosed = whole.length > 2 && (neighbours.get(whole[0] ?? "")?.includes(whole.at(-1) ?? "") ?? false);
    const names = isClosed ? [...whole, ...whole.slice(0, 1)] : whole;
    lines.push(
      names.flatMap((name) => {
        const dot = crossings.get(name);
        return dot === undefined ? [] : [dot];
      }),
    );
  }
  return lines;
};
