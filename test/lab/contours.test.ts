import { expect, test } from "vitest";
import { contours } from "../../src/lab/contours.js";

const grid = { x: [-2, 2], y: [-2, 2], columns: 40, rows: 40 } as const;

test("the contour of a bowl is one loop at its radius", () => {
  const lines = contours({ ...grid, value: (x, y) => x * x + y * y }, 1);
  expect(lines).toHaveLength(1);
  const [loop = []] = lines;
  expect(loop.at(0)).toEqual(loop.at(-1));
  // Linear interpolation is off by less than the square of a cell's side.
  for (const [x, y] of loop) expect(Math.abs(Math.hypot(x, y) - 1)).toBeLessThan(0.1 ** 2);
  // Neighbours lie in one cell, and the loop goes all the way around.
  for (const [i, [x, y]] of loop.slice(1).entries())
    expect(Math.hypot(x - loop[i]![0], y - loop[i]![1])).toBeLessThanOrEqual(Math.hypot(0.1, 0.1) + 1e-12);
  expect(new Set(loop.map(([x, y]) => `${x > 0}${y > 0}`)).size).toBe(4);
});

test("a slope's is one exact line from edge to edge", () => {
  const [line = [], ...others] = contours({ ...grid, value: (x, y) => x + 2 * y }, 0.3);
  expect(others).toEqual([]);
  for (const [x, y] of line) expect(x + 2 * y).toBeCloseTo(0.3, 12);
  expect([line.at(0)![0], line.at(-1)![0]].map(Math.abs).sort()).toEqual([2, 2]);
});

test("a saddle's are two lines, and a level that is never reached has none", () => {
  const saddle = { ...grid, value: (x: number, y: number) => x * y };
  for (const level of [0.5, -0.5]) {
    const lines = contours(saddle, level);
    expect(lines).toHaveLength(2);
    for (const [x, y] of lines.flat()) expect(x * y).toBeCloseTo(level, 1);
  }
  expect(contours(saddle, 5)).toEqual([]);
});
