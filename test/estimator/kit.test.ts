import { describe, expect, test } from "vitest";
import { type Anchor, anchored } from "../../src/estimator/anchored.js";
import { blockwise } from "../../src/estimator/blocks.js";
import { conservative } from "../../src/estimator/conservative.js";
import type { Estimator, Point } from "../../src/estimator/estimator.js";
import { estimators } from "../../src/estimator/estimators.js";
import { normalised } from "../../src/estimator/normalised.js";
import { oneSided } from "../../src/estimator/one-sided.js";
import { queriesAt, scheduled } from "../../src/estimator/scheduled.js";
import { threePoint } from "../../src/estimator/three-point.js";
import { twoSided } from "../../src/estimator/two-sided.js";
import type { Key } from "../../src/random/key.js";
import { at, dense, diagonal, dot, drive, estimateOf, gradientOf, lossOf, noiseOf, times } from "./quadratic.js";

/* Estimators alone, driven in float64 on quadratics; whole steps with kernels are in test/optimizer. */

const d = 12;
const problem = dense(d);
const x = Array.from({ length: d }, (_, i) => Math.cos(i));
const gradient = gradientOf(problem, x);
const loss = (y: readonly number[]) => lossOf(problem, y);
const gaussian = (key: Key) => noiseOf("gaussian", key, d);
const rademacher = (key: Key) => noiseOf("rademacher", key, d);
const onSphere = (key: Key) => {
  const z = gaussian(key);
  const radius = Math.sqrt(d / dot(z, z));
  return z.map((value) => radius * value);
};
const directions = { gaussian, rademacher, onSphere };

/** What float64 leaves of a difference of losses ÷ 2ε. */
const rounding = (epsilon: number) => (64 * Math.abs(loss(x)) * 2 ** -53) / epsilon ** 2 + 1e-11;

describe.each(Object.entries(directions))("along %s noise", (_, direction) => {
  test.each([1, 1e-3])("T1: the two-sided difference is zᵀ∇L exactly on a quadratic, ε = %d", (epsilon) => {
    const { updates, points } = drive(twoSided, { epsilon, queries: 3, step: 5 }, loss, x, direction);
    expect(points).toHaveLength(twoSided.evaluations(3, 1));
    expect(updates).toHaveLength(1);
    for (const { key, scale } of updates[0]!.gradient)
      expect(Math.abs(scale * 3 - dot(direction(key), gradient))).toBeLessThan(rounding(epsilon));
  });

  test.each([1, 1e-3])("T2: the one-sided difference has (ε/2)·zᵀAz more, ε = %d", (epsilon) => {
    const { updates } = drive(oneSided, { epsilon, queries: 3, step: 5 }, loss, x, direction);
    for (const { key, scale } of updates[0]!.gradient) {
      const z = direction(key);
      const expected = dot(z, gradient) + (epsilon / 2) * dot(z, times(problem, z));
      expect(Math.abs(scale * 3 - expected)).toBeLessThan(rounding(epsilon));
    }
  });

  test("the one-sided curvature's share is even in z, so that it adds no bias", () => {
    const step = { epsilon: 0.5, queries: 1 };
    const there = drive(oneSided, step, loss, x, direction).updates[0]!.gradient[0]!;
    const back = drive(oneSided, step, loss, x, (key) => direction(key).map((value) => -value)).updates[0]!
      .gradient[0]!;
    const both = drive(twoSided, step, loss, x, direction).updates[0]!.gradient[0]!;
    expect((there.scale - back.scale) / 2).toBeCloseTo(both.scale, 9);
    expect(Math.abs(there.scale - both.scale)).toBeGreaterThan(1e-2);
  });

  test.each([1, 1e-2])("the second difference is zᵀAz exactly on a quadratic, ε = %d", (epsilon) => {
    for (const absolute of [false, true]) {
      const estimator = threePoint({ absolute });
      const { updates, points } = drive(estimator, { epsilon, queries: 2 }, loss, x, direction);
      expect(points).toHaveLength(estimator.evaluations(2, 1));
      // zz carries Δ/(2ε²)/q = zᵀAz/(2q).
      for (const { key, scale } of updates[0]!.curvature) {
        const z = direction(key);
        expect(Math.abs(scale * 2 * 2 - dot(z, times(problem, z)))).toBeLessThan(rounding(epsilon));
      }
    }
  });
});

test("a negative second difference is taken as it is, or as released by its size", () => {
  const concave = diagonal(x.map(() => -1));
  const [signed, size] = [false, true].map((absolute) =>
    drive(
      threePoint({ absolute }),
      { epsilon: 0.1, queries: 1 },
      (y) => lossOf(concave, y),
      x,
      gaussian,
    ).updates[0]!.curvature.map(({ scale }) => scale),
  );
  expect(signed![0]).toBeLessThan(0);
  expect(size).toEqual([-signed![0]!]);
});

/** Every estimator, of several queries where it needs them. */
const all: Readonly<Record<string, Estimator<never>>> = {
  "two-sided": twoSided as Estimator<never>,
  "one-sided": oneSided as Estimator<never>,
  "three-point": threePoint({ absolute: false }) as Estimator<never>,
  normalised: normalised({ reference: false, reuse: false }) as Estimator<never>,
  "normalised, reusing": normalised({ reference: false, reuse: true }) as Estimator<never>,
  conservative: conservative as Estimator<never>,
  anchored: anchored({ period: 3, anchorRate: 2, window: 1, anneal: 5 }) as Estimator<never>,
  growing: scheduled(twoSided, { alpha: 1, beta: 1, most: 4 }) as Estimator<never>,
  blockwise: blockwise(twoSided, "jacobi") as Estimator<never>,
};

describe.each(Object.entries(all))("%s", (name, estimator) => {
  const context = { epsilon: 0.25, queries: 4, epoch: 50, blocks: name === "blockwise" ? 3 : 1 };

  test("asks for as many losses as it says, in a long run's mean", () => {
    let memory = estimator.initial;
    let evaluations = 0;
    for (let step = 0; step < 30; step++) {
      const driven = drive(estimator, { ...context, step: step % 3, epoch: 50 + step, memory }, loss, x, gaussian);
      ({ memory } = driven);
      evaluations += driven.points.length;
    }
    // The first of a reusing run has none to reuse.
    const more = name === "normalised, reusing" ? 2 : 0;
    expect(evaluations).toBe(30 * estimator.evaluations(4, context.blocks) + more);
    expect(estimator.name).not.toBe("");
  });

  test("its points and requests depend on the step and on nothing that it is answered but numbers that are fixed", () => {
    const pointsOf = (of: (y: readonly number[]) => number) =>
      drive(estimator, { ...context, step: 1 }, of, x, gaussian).points.map(({ point, rows }) => [
        point.map(({ key, block }) => [key, block]),
        rows,
      ]);
    expect(pointsOf(loss)).toEqual(pointsOf(() => 1));
  });

  test("T12: the estimate is as large as the loss; a normalised one has no size", () => {
    const scaleOf = (by: number) =>
      drive(estimator, { ...context, learningRate: 2 ** -40 }, (y) => by * loss(y), x, gaussian).updates.flatMap(
        ({ gradient: of }) => of.map(({ scale }) => scale),
      );
    const one = scaleOf(1);
    expect(one.length).toBeGreaterThan(0);
    expect(scaleOf(8)).toEqual(one.map((scale) => (name.startsWith("normalised") ? 1 : 8) * scale));
  });

  test("uses bounded projected gradients", () => {
    const bounds: number[] = [];
    const bounded = (value: number) => {
      bounds.push(value);
      return 0;
    };
    const { updates } = drive(estimator, { ...context, bounded }, loss, x, gaussian);
    expect(bounds.length).toBeGreaterThanOrEqual(4);
    for (const { gradient: of } of updates) expect(of.every(({ scale }) => scale === 0)).toBe(true);
  });
});

test("T8: q directions in one step are the mean of q estimates at the same point", () => {
  for (const estimator of [...Object.values(estimators), threePoint({ absolute: true })]) {
    const step = { epsilon: 1e-3, step: 9 };
    const both = drive(estimator, { ...step, queries: 4 }, loss, x, gaussian).updates[0]!;
    expect(new Set(both.gradient.map(({ key }) => key.query))).toEqual(new Set([0, 1, 2, 3]));
    for (const part of ["gradient", "curvature"] as const)
      for (const [query, { scale }] of both[part].entries()) {
        const key = (): Key => ({ seed: 7n, stream: "noise", step: 9, query });
        const alone = drive(estimator, { ...step, queries: 1, key }, loss, x, gaussian).updates[0]!;
        expect(scale).toBe(alone[part][0]!.scale / 4);
      }
  }
});

test("the conservative estimate chooses the least of three, and stays where none is less", () => {
  const signOf = (losses: readonly number[]): number => {
    const answers = [0, 1, -1, ...losses.slice(1)];
    answers[0] = losses[0]!;
    // L(θ), the two sides, θ − ηg, θ + ηg.
    const { updates } = drive(conservative, { epsilon: 0.5, queries: 1 }, () => answers.shift()!, x, gaussian);
    return updates[0]!.gradient[0]!.scale / 2;
  };
  const some = [0, 1, 2, Number.NaN, Number.POSITIVE_INFINITY];
  for (const base of some)
    for (const down of some)
      for (const up of some) {
        const best = [base, down, up].filter((value) => !Number.isNaN(value)).reduce((a, b) => Math.min(a, b), base);
        const sign = signOf([base, down, up]);
        // Ties, and a base that is no number, keep θ.
        expect({ 0: base, 1: down, "-1": up }[sign as 0 | 1 | -1], `${base}, ${down}, ${up}`).toBe(
          Number.isNaN(base) ? base : best,
        );
        if (base === best || Number.isNaN(base)) expect(Math.abs(sign)).toBe(0);
      }
});

describe("MeZO-SVRG's anchor", () => {
  const options = { period: 5, anchorRate: 3, window: 0, anneal: 5 };
  const estimator = anchored(options);
  const key = (step: number): Key => ({ seed: 1n, stream: "noise", step, query: 0 });
  const anchor: Anchor = { gradient: [{ key: key(0), scale: 0.75 }], back: [], rate: 1, losses: [] };
  const stepAt = (back: Point, step = 1, epsilon = 0.25) =>
    drive(estimator, { epsilon, queries: 3, step, memory: { ...anchor, back } }, loss, x, gaussian);

  test("at the anchor the difference is 0 exactly, and the step is −η₂g", () => {
    const { updates } = stepAt([]);
    const [last, ...others] = [...updates[0]!.gradient].reverse();
    expect(others).toHaveLength(3);
    for (const { scale } of others) expect(scale).toBe(0);
    expect(last).toEqual(anchor.gradient[0]);
  });

  test("along one direction, the difference shrinks as the distance to the anchor does; along two it does not", () => {
    const differenceAt = (distance: number): number => {
      const g = { ...stepAt([{ key: key(3), scale: distance }]).updates[0]! };
      return Math.hypot(...estimateOf({ ...g, gradient: g.gradient.slice(0, 3) }, gaussian, d));
    };
    const one = differenceAt(1);
    expect(one).toBeGreaterThan(1);
    for (const distance of [0.5, 0.125, 2 ** -7]) expect(differenceAt(distance) / one).toBeCloseTo(distance, 9);
    const apart = [0, 1].map((query) => {
      const own = (): Key => ({ seed: 9n, stream: "noise", step: 0, query });
      return estimateOf(
        drive(twoSided, { epsilon: 0.25, queries: 1, key: own }, loss, x, gaussian).updates[0]!,
        gaussian,
        d,
      );
    });
    expect(Math.hypot(...apart[0]!.map((value, i) => value - apart[1]![i]!))).toBeGreaterThan(1);
  });

  test("the way back is the sum of the updates since, and starts anew at an anchor", () => {
    let memory = estimator.initial;
    let live = [...x];
    let home = live;
    for (let step = 0; step < 12; step++) {
      const learningRate = 0.01 * (1 + (step % 3));
      const driven = drive(estimator, { epsilon: 0.25, queries: 2, step, memory, learningRate }, loss, live, gaussian);
      ({ memory } = driven);
      if (step % options.period === 0) {
        home = live;
        expect(driven.points.every(({ rows }) => rows === "anchor")).toBe(true);
      } else expect(driven.points.map(({ rows }) => rows)).toEqual(Array.from({ length: 8 }, () => "batch"));
      // The anchor is a way from θ, not θ: it stays.
      live = live.map((value, i) => value - learningRate * estimateOf(driven.updates[0]!, gaussian, d)[i]!);
      for (const [i, value] of at(live, memory.back, gaussian).entries()) expect(value).toBeCloseTo(home[i]!, 9);
      // One term for each key that was used since.
      expect(memory.back).toHaveLength(2 * ((step % options.period) + 1));
    }
  });
});

test("AdaZeta's queries: min(⌊α·e^β⌋, Q_max), 1 at least, epoch by epoch", () => {
  const published = { alpha: 0.85, beta: 0.45, most: 20 };
  // k ≤ 0.85·e^0.45 is (20k)²⁰ ≤ 17²⁰·e⁹, in whole numbers.
  const reaches = (k: number, epoch: number) => (20n * BigInt(k)) ** 20n <= 17n ** 20n * BigInt(epoch) ** 9n;
  for (let epoch = 0; epoch <= 1000; epoch++) {
    let most = 1;
    while (most < 20 && reaches(most + 1, epoch)) most++;
    expect(queriesAt(epoch, published), `epoch ${epoch}`).toBe(most);
  }
  expect([0, 1, 6, 7, 16, 17, 1000].map((epoch) => queriesAt(epoch, published))).toEqual([1, 1, 1, 2, 2, 3, 19]);
  // Where a power is a whole number it counts, whatever its last bit.
  for (let k = 1; k < 60; k++) expect(queriesAt(k ** 3, { alpha: 1, beta: 1 / 3, most: 100 })).toBe(k);
  expect(queriesAt(10 ** 9, { alpha: 0.85, beta: 0.45, most: 7 })).toBe(7);
});

test("FZOO: losses that are all equal give no step; σ is that of a sample, or as released of all", () => {
  const flat = drive(
    normalised({ reference: false, reuse: false }),
    { epsilon: 1, queries: 4 },
    () => 2,
    x,
    rademacher,
  );
  for (const { scale } of flat.updates[0]!.gradient) expect(scale).toBe(0);
  for (const reference of [false, true]) {
    const losses = [1, 3, 2, 7, 4];
    const answers = [...losses];
    const { updates } = drive(
      normalised({ reference, reuse: false }),
      { epsilon: 0.5, queries: 4 },
      () => answers.shift()!,
      x,
      rademacher,
    );
    // ℓ₁ … ℓ₄: mean 4, squares 1 + 4 + 9 + 0.
    const sigma = Math.sqrt(14 / (reference ? 4 : 3));
    const expected = [2, 1, 6, 3].map((rise) => rise / (4 * sigma * (reference ? 1 : 0.5)));
    for (const [i, { scale }] of updates[0]!.gradient.entries()) expect(scale).toBeCloseTo(expected[i]!, 12);
  }
});

test("a block's terms move it alone; updates come at once, or after the last block", () => {
  for (const sweep of ["gauss-seidel", "jacobi"] as const) {
    const generator = blockwise(oneSided, sweep).step({
      ...{ step: 0, epoch: 0, learningRate: 1, epsilon: 1, queries: 1, blocks: 3, memory: undefined },
      key: (query) => ({ seed: 0n, stream: "noise", step: 0, query }),
      bounded: (value) => value,
    });
    const seen: string[] = [];
    let next = generator.next();
    while (!next.done) {
      const request = next.value;
      if (request.kind === "evaluate") {
        const blocks = request.points.flatMap((point) => point.map(({ block }) => block));
        seen.push(`look at ${blocks}`);
        next = generator.next(request.points.map(() => 1));
      } else if (request.kind === "update") {
        const { block, gradient: terms } = request.update;
        expect(terms.every((term) => term.block === block)).toBe(true);
        seen.push(`move ${block}`);
        next = generator.next([]);
      }
    }
    const [looks, moves] = ["look at", "move"].map((what) => [0, 1, 2].map((block) => `${what} ${block}`));
    expect(seen).toEqual(sweep === "jacobi" ? [...looks!, ...moves!] : looks!.flatMap((look, i) => [look, moves![i]]));
  }
});
