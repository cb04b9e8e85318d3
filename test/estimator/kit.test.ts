import { expect, test } from "vitest";
import { threePoint } from "../../src/estimator/three-point.js";
import { twoSided } from "../../src/estimator/two-sided.js";
import type { Key } from "../../src/random/key.js";
import { dense, diagonal, dot, drive, estimateOf, gradientOf, lossOf, noiseOf, times } from "./quadratic.js";

/* The algorithm reference's test kit on quadratics (its section 1.6); T5 to T11 on weights are in test/engine. */

const d = 12;
const problem = dense(d);
const x = Array.from({ length: d }, (_, i) => Math.cos(i));
const gradient = gradientOf(problem, x);
const distributions = ["gaussian", "rademacher"] as const;
/** A step asks for the same direction a few times in a row. */
const last = new Map<string, { key: Key; z: number[] }>();
const noise = (distribution: "gaussian" | "rademacher") => (key: Key) => {
  const name = `${distribution}/${key.query}`;
  const known = last.get(name);
  if (known?.key.seed === key.seed && known.key.step === key.step) return known.z;
  const z = noiseOf(distribution, key, d);
  last.set(name, { key, z });
  return z;
};

test.each([1, 1e-3])("T1: the two-sided difference is zᵀ∇L exactly on a quadratic, ε = %d", (epsilon) => {
  for (const distribution of distributions) {
    const { updates, evaluations } = drive(
      twoSided,
      { epsilon, queries: 3, seed: 7n, step: 5 },
      (y) => lossOf(problem, y),
      x,
      noise(distribution),
    );
    expect(evaluations).toBe(twoSided.evaluations(3));
    expect(updates).toHaveLength(1);
    for (const { key, scale } of updates[0]!.gradient) {
      expect(scale * 3).toBeCloseTo(dot(noise(distribution)(key), gradient), epsilon === 1 ? 10 : 8);
    }
  }
});

test("T2: the second difference is zᵀAz exactly on a quadratic, for any ε", () => {
  for (const epsilon of [1, 1e-2]) {
    const { updates, evaluations } = drive(
      threePoint,
      { epsilon, queries: 2, seed: 1n, step: 0 },
      (y) => lossOf(problem, y),
      x,
      noise("gaussian"),
    );
    expect(evaluations).toBe(threePoint.evaluations(2));
    for (const { key, scale } of updates[0]!.curvature) {
      const z = noise("gaussian")(key);
      // zz carries Δ/(2ε²)/q = zᵀAz/(2q).
      expect(scale * 2 * 2).toBeCloseTo(dot(z, times(problem, z)), epsilon === 1 ? 9 : 6);
    }
  }
});

test("T3: the estimate is unbiased, coordinate by coordinate", () => {
  const draws = 20_000;
  for (const distribution of distributions) {
    const sum = new Float64Array(d);
    const squares = new Float64Array(d);
    for (let step = 0; step < draws; step++) {
      const { updates } = drive(
        twoSided,
        { epsilon: 1e-2, queries: 1, seed: 3n, step },
        (y) => lossOf(problem, y),
        x,
        noise(distribution),
      );
      estimateOf(updates[0]!, noise(distribution), d).forEach((value, i) => {
        sum[i]! += value;
        squares[i]! += value * value;
      });
    }
    for (let i = 0; i < d; i++) {
      const mean = sum[i]! / draws;
      const error = Math.sqrt((squares[i]! / draws - mean * mean) / draws);
      expect(Math.abs(mean - gradient[i]!)).toBeLessThan(4 * error);
    }
  }
});

test.each([1, 4])("T4: second moments are those of the table, %d directions", (queries) => {
  const draws = 40_000 / queries;
  const expected = { gaussian: (d + queries + 1) / queries, rademacher: (d + queries - 1) / queries };
  for (const distribution of distributions) {
    let total = 0;
    for (let step = 0; step < draws; step++) {
      const { updates } = drive(
        twoSided,
        { epsilon: 1, queries, seed: 11n, step },
        (y) => lossOf(problem, y),
        x,
        noise(distribution),
      );
      const g = estimateOf(updates[0]!, noise(distribution), d);
      total += dot(g, g);
    }
    const ratio = total / draws / dot(gradient, gradient);
    expect(Math.abs(ratio / expected[distribution] - 1)).toBeLessThan(0.03);
  }
});

test("T8: q directions in one step are the mean of q estimates at the same point", () => {
  const step = { epsilon: 1e-3, seed: 5n, step: 9 };
  const both = drive(twoSided, { ...step, queries: 4 }, (y) => lossOf(problem, y), x, noise("gaussian")).updates[0]!;
  const alone = both.gradient.map(({ key }) => {
    const { updates } = drive(
      twoSided,
      { ...step, queries: 1 },
      (y) => lossOf(problem, y),
      x,
      () => noise("gaussian")(key),
    );
    return estimateOf(updates[0]!, () => noise("gaussian")(key), d);
  });
  estimateOf(both, noise("gaussian"), d).forEach((value, i) => {
    expect(value).toBeCloseTo(
      alone.reduce((sum, g) => sum + g[i]! / 4, 0),
      9,
    );
  });
});

test("T12: scaling the loss scales the estimate", () => {
  const step = { epsilon: 1e-2, queries: 2, seed: 5n, step: 1 };
  const one = drive(twoSided, step, (y) => lossOf(problem, y), x, noise("gaussian")).updates[0]!;
  const eight = drive(twoSided, step, (y) => 8 * lossOf(problem, y), x, noise("gaussian")).updates[0]!;
  for (const [i, { scale }] of one.gradient.entries()) expect(eight.gradient[i]!.scale).toBe(8 * scale);
});

test("HiZOO's curvature is unbiased for the Hessian's diagonal with the −1, and (d + 2)/2 times it without", () => {
  const curvature = Array.from({ length: d }, (_, i) => 0.5 + i / 4);
  const q = diagonal(curvature);
  // At H = diag(A) the perturbation is H^(−1/2)u; a fixed point of H ← H + α·Δ/(2ε²)·H∘(u² − 1) has mean correction diag(A) − … = 0 there.
  const shaped = (key: Key) => noise("gaussian")(key).map((u, i) => u / Math.sqrt(curvature[i]!));
  const draws = 40_000;
  const withTerm = new Float64Array(d);
  const without = new Float64Array(d);
  for (let step = 0; step < draws; step++) {
    const { updates } = drive(
      threePoint,
      { epsilon: 1e-2, queries: 1, seed: 2n, step },
      (y) => lossOf(q, y),
      x,
      shaped,
    );
    for (const { key, scale } of updates[0]!.curvature) {
      noise("gaussian")(key).forEach((u, i) => {
        withTerm[i]! += (scale * curvature[i]! * (u * u - 1)) / draws;
        without[i]! += (scale * curvature[i]! * u * u) / draws;
      });
    }
  }
  for (let i = 0; i < d; i++) {
    expect(withTerm[i]! / curvature[i]!).toBeGreaterThan(0.85);
    expect(withTerm[i]! / curvature[i]!).toBeLessThan(1.15);
    expect(without[i]! / curvature[i]! / ((d + 2) / 2)).toBeGreaterThan(0.95);
    expect(without[i]! / curvature[i]! / ((d + 2) / 2)).toBeLessThan(1.05);
  }
});
