import { describe, expect, test } from "vitest";
import { exponential, type Known, landscapes, linear, type Problem, quadratic } from "../../src/lab/functions.js";
import { normals } from "../../src/lab/normal.js";

const problems: readonly Problem[] = [
  ...landscapes,
  quadratic(10, 3),
  quadratic(1e3, 3),
  quadratic(1e3, 3, { rotated: true }),
  exponential(3),
];
const named = (functions: readonly Known[]) => functions.map((one) => [one.name, one] as const);
/** Where functions are looked at: their start, and places around it, off every axis. */
const places = ({ start }: Known): number[][] =>
  [0, 1, 2].map((k) => Array.from(start, (value, i) => value + 0.3 * k * (normals(k, "place", start.length)[i] ?? 0)));
const moved = (x: readonly number[], i: number, by: number): number[] => x.with(i, x[i]! + by);

describe.each(named([...problems, linear(3)]))("%s", (_, known) => {
  test("its gradient is that of central differences", () => {
    for (const x of places(known))
      known.gradient(x).forEach((slope, i) => {
        const h = 1e-5;
        const measured = (known.value(moved(x, i, h)) - known.value(moved(x, i, -h))) / (2 * h);
        expect(Math.abs(slope - measured)).toBeLessThanOrEqual(1e-6 * Math.max(1, Math.abs(slope)));
      });
  });
  test("its start has the elements of its shape", () => {
    expect(known.shape.reduce((size, dim) => size * dim, 1)).toBe(known.start.length);
    expect(known.start.every(Number.isFinite)).toBe(true);
  });
});

describe.each(named(problems))("%s", (_, known) => {
  const { minimum, least, value, gradient } = known as Problem;
  test("is least at its minimum", () => {
    expect(value(minimum)).toBeCloseTo(least, 12);
    for (const slope of gradient(minimum)) expect(Math.abs(slope)).toBe(0);
    for (let k = 0; k < 20; k++) {
      const step = normals(k, "away", minimum.length);
      for (const length of [1e-2, 1, 10])
        expect(value(minimum.map((x, i) => x + length * (step[i] ?? 0)))).toBeGreaterThan(least);
    }
  });
});

test("a landscape's picture shows its start, its minimum, and contours between them", () => {
  for (const { view, start, minimum, levels, value, least } of landscapes) {
    for (const [x = 0, y = 0] of [Array.from(start), minimum]) {
      expect(x > view.x[0] && x < view.x[1]).toBe(true);
      expect(y > view.y[0] && y < view.y[1]).toBe(true);
    }
    const first = value(start) - least;
    expect(levels.filter((level) => level < first).length).toBeGreaterThanOrEqual(4);
    expect(levels).toEqual([...levels].sort((a, b) => a - b));
  }
});

test.each([10, 1e3, 1e5])(
  "a quadratic of condition %d: curvatures from 1 up in even steps of their logarithm",
  (condition) => {
    const plain = quadratic(condition, 5);
    const size = plain.start.length;
    const axis = (i: number): number[] => Array.from({ length: size }, (_, k) => Number(k === i));
    // ½λ on each axis.
    const curvatures = Array.from({ length: size }, (_, i) => 2 * plain.value(axis(i)));
    const sorted = [...curvatures].sort((a, b) => a - b);
    for (const [i, lambda] of sorted.entries()) expect(lambda / condition ** (i / (size - 1))).toBeCloseTo(1, 9);
    expect(curvatures).not.toEqual(sorted);
    // Turned, it has the same trace, the same loss at its start, and curvature of its own on no axis.
    const turned = quadratic(condition, 5, { rotated: true });
    const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
    const diagonal = Array.from({ length: size }, (_, i) => 2 * turned.value(axis(i)));
    expect(sum(diagonal) / sum(curvatures)).toBeCloseTo(1, 9);
    expect(Math.max(...diagonal)).toBeLessThan(condition / 1.5);
    expect(turned.value(turned.start) / plain.value(plain.start)).toBeCloseTo(1, 3);
  },
);

test("a seed decides", () => {
  for (const make of [(seed: number) => quadratic(10, seed), exponential]) {
    expect(make(1).start).toEqual(make(1).start);
    expect(make(1).start).not.toEqual(make(2).start);
  }
  expect(linear(1).gradient([])).not.toEqual(linear(2).gradient([]));
});
