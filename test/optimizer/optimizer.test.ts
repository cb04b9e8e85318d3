import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { resolveSettings } from "../../src/api/settings.js";
import { ZerothError } from "../../src/errors.js";
import type { Point } from "../../src/estimator/estimator.js";
import { reference } from "../../src/kernels/reference.js";
import { type OptimizerName, optimizers } from "../../src/optimizer/optimizers.js";
import { type PerturbationName, perturbations } from "../../src/perturbation/perturbations.js";
import type { Key } from "../../src/random/key.js";
import { learningRateAt, type Schedule } from "../../src/train/schedule.js";
import { takeStep } from "../../src/train/step.js";
import { dense, lossOf, noiseOf } from "../estimator/quadratic.js";

/*
 * Whole steps of each optimizer (estimator, journaled numbers, rule in fp32) against the formulas of its paper, written out here
 * in float64.
 */

const d = 12;
const problem = dense(d);
const loss = (x: readonly number[]): number => lossOf(problem, x);
const start = Array.from({ length: d }, (_, i) => Math.cos(i));
const names = Object.keys(optimizers) as OptimizerName[];

interface Setup {
  readonly epsilon: number;
  readonly queries: number;
  readonly noise: PerturbationName;
  readonly options: Readonly<Record<string, number>>;
  readonly rates: readonly number[];
  /** Reads the scalars of one-dimensional tensors. */
  readonly exempt?: boolean;
}

const keyOf = (step: number, query: number): Key => ({ seed: 21n, stream: "noise", step, query });
const noises = ({ noise, queries }: Setup, step: number): number[][] =>
  Array.from({ length: queries }, (_, query) => noiseOf(perturbations[noise].distribution, keyOf(step, query), d));

/** What Zeroth does: weights and states after each step, in fp32. */
const zeroth = async (name: OptimizerName, setup: Setup): Promise<Record<string, number[]>[]> => {
  const optimizer = optimizers[name];
  const noise = perturbations[setup.noise];
  const { distribution, direction } = optimizer.shape?.(noise) ?? noise;
  const states = Object.entries(optimizer.states).map(([state, value]) => [state, new Float32Array(d).fill(value)]);
  const live: Record<string, Float32Array> = { weight: Float32Array.from(start), ...Object.fromEntries(states) };
  const shape = reference({ direction });
  const rule = reference(optimizer.rule);
  const z = (key: Key) => Float32Array.from(noiseOf(distribution, key, d));
  const at = (point: Point): number[] => {
    const x = Array.from(live.weight!);
    for (const { key, scale } of point) {
      const moved = new Float32Array(d);
      shape(d, { ...live, z: z(key), direction: moved }, {});
      for (let i = 0; i < d; i++) x[i]! += scale * moved[i]!;
    }
    return x;
  };
  const stepper = {
    estimator: optimizer.estimator,
    optimizer: optimizer.configure(setup.options),
    seed: keyOf(0, 0).seed,
    epsilon: setup.epsilon,
    queries: setup.queries,
  };
  const after: Record<string, number[]>[] = [];
  for (const [step, rate] of setup.rates.entries()) {
    await takeStep(stepper, step, rate, {
      losses: async (points) => points.map((point) => loss(at(point))),
      async update({ gradient, curvature }, scalars) {
        const g = new Float32Array(d);
        const zz = new Float32Array(d);
        for (const { key, scale } of gradient) for (const [i, value] of z(key).entries()) g[i]! += scale * value;
        for (const { key, scale } of curvature) for (const [i, value] of z(key).entries()) zz[i]! += scale * value ** 2;
        rule(d, { ...live, g, zz }, { ...scalars, ...(setup.exempt ? optimizer.exempt : {}) });
      },
    });
    after.push(Object.fromEntries(Object.entries(live).map(([key, values]) => [key, Array.from(values)])));
  }
  return after;
};

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
type Paper = (setup: Setup) => Record<string, number[]>[];

/** The papers' algorithms, weights and states after each step. */
const papers: Readonly<Record<OptimizerName, Paper>> = {
  /** arXiv 2305.17333, algorithms 1 and 2: θ ← θ − η·(mean of (ℓ₊ − ℓ₋)/2ε · z + λθ). */
  mezo(setup) {
    const { epsilon, rates, options, exempt } = setup;
    const decay = exempt ? 0 : (options.weightDecay ?? 0);
    let x = start.map(Math.fround);
    return rates.map((rate, step) => {
      const terms = noises(setup, step).map((z) => {
        const plus = loss(x.map((value, i) => value + epsilon * z[i]!));
        const minus = loss(x.map((value, i) => value - epsilon * z[i]!));
        return { z, projected: (plus - minus) / (2 * epsilon) };
      });
      x = x.map(
        (value, i) => value - rate * (mean(terms.map(({ z, projected }) => projected * z[i]!)) + decay * value),
      );
      return { weight: x };
    });
  },
  /**
   * arXiv 2402.15173, with H for its Σ⁻¹: the estimate Δ/2ε² · (H^½uuᵀH^½ − H) of the Hessian, its diagonal smoothed into H, and a
   * step by the new H^(−½). H stays above 10⁻⁸.
   */
  hizoo(setup) {
    const { epsilon, rates, options, exempt } = setup;
    const decay = exempt ? 0 : (options.weightDecay ?? 0);
    const alpha = options.smoothing ?? 1e-8;
    let x = start.map(Math.fround);
    let h = x.map(() => 1);
    return rates.map((rate, step) => {
      const base = loss(x);
      const terms = noises(setup, step).map((u) => {
        const plus = loss(x.map((value, i) => value + (epsilon * u[i]!) / Math.sqrt(h[i]!)));
        const minus = loss(x.map((value, i) => value - (epsilon * u[i]!) / Math.sqrt(h[i]!)));
        return { u, projected: (plus - minus) / (2 * epsilon), second: plus + minus - 2 * base };
      });
      const hessian = h.map((value, i) =>
        mean(terms.map(({ u, second }) => (second / (2 * epsilon ** 2)) * (Math.sqrt(value) * u[i]!) ** 2)),
      );
      const minusH = h.map((value) => mean(terms.map(({ second }) => (second / (2 * epsilon ** 2)) * value)));
      h = h.map((value, i) => Math.max((1 - alpha) * value + alpha * (hessian[i]! - minusH[i]!), 1e-8));
      x = x.map(
        (value, i) =>
          value -
          rate * (mean(terms.map(({ u, projected }) => (projected * u[i]!) / Math.sqrt(h[i]!))) + decay * value),
      );
      return { weight: x, h };
    });
  },
};

/** Agree to fp32's precision, accumulated over a few steps. */
const agree = (found: Record<string, number[]>[], expected: Record<string, number[]>[]): void => {
  expect(found.length).toBe(expected.length);
  for (const [step, values] of expected.entries()) {
    expect(Object.keys(found[step]!).sort()).toEqual(Object.keys(values).sort());
    for (const [name, paper] of Object.entries(values)) {
      for (const [i, value] of paper.entries()) {
        const off = Math.abs(found[step]![name]![i]! - value) / Math.max(1, Math.abs(value));
        expect(off, `${name}[${i}] after step ${step + 1}: ${found[step]![name]![i]}, not ${value}`).toBeLessThan(4e-6);
      }
    }
  }
};
const farthest = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));

/** Options at which every part of a rule shows. */
const shown: Readonly<Record<OptimizerName, Readonly<Record<string, number>>>> = {
  mezo: { weightDecay: 0.5 },
  // Small enough that no H of the few steps falls to its floor, where rounding is multiplied by 10⁴.
  hizoo: { weightDecay: 0.5, smoothing: 0.005 },
};
const rates = [0.02, 0.01, 0.03, 0.02];

test("every optimizer of the table has its paper's formula in this file, and says which paper", () => {
  expect(Object.keys(papers).sort()).toEqual([...names].sort());
  for (const name of names) {
    expect(optimizers[name].name).toBe(name);
    expect(optimizers[name].paper).toMatch(/^arXiv \d{4}\.\d{5}$/);
  }
});

describe.each(names)("%s", (name) => {
  const setups: readonly (readonly [string, Partial<Setup>])[] = [
    ["one direction", {}],
    ["three directions", { queries: 3 }],
    ["its defaults", { options: {} }],
    ["Rademacher noise", { noise: "rademacher" }],
    ["a large radius", { epsilon: 0.5, queries: 2 }],
    ["a tensor without decay", { exempt: true }],
  ];
  const setupOf = (change: Partial<Setup>): Setup => ({
    epsilon: 1e-2,
    queries: 1,
    noise: "gaussian",
    options: shown[name],
    rates,
    ...change,
  });

  test.each(setups)("takes the paper's steps with %s", async (_, change) => {
    const setup = setupOf(change);
    agree(await zeroth(name, setup), papers[name](setup));
  });

  test("each of its hyperparameters changes the steps, as the paper has it", async () => {
    const plain = (await zeroth(name, setupOf({ options: {} }))).at(-1)!;
    for (const [option, value] of Object.entries(shown[name])) {
      const setup = setupOf({ options: { [option]: value } });
      const found = await zeroth(name, setup);
      agree(found, papers[name](setup));
      expect(farthest(found.at(-1)!.weight!, plain.weight!), option).toBeGreaterThan(1e-3);
    }
  });

  test("a learning rate of 0 moves no weight; the schedule's rate is the step's size", async () => {
    const still = (await zeroth(name, setupOf({ rates: [0, 0] }))).at(-1)!;
    expect(still.weight).toEqual(start.map(Math.fround));
    for (const kind of ["constant", "linear", "cosine"] as const) {
      const schedule: Schedule = { kind, learningRate: 0.04, warmup: 2, steps: 6 };
      const scheduled = Array.from({ length: 6 }, (_, step) => Math.fround(learningRateAt(step, schedule)));
      const setup = setupOf({ rates: scheduled });
      const found = await zeroth(name, setup);
      agree(found, papers[name](setup));
      // Not the peak throughout.
      const peak = await zeroth(name, setupOf({ rates: scheduled.map(() => 0.04) }));
      expect(farthest(found.at(-1)!.weight!, peak.at(-1)!.weight!)).toBeGreaterThan(1e-3);
    }
  });

  test("descends a quadratic", async () => {
    const after = await zeroth(name, setupOf({ options: {}, rates: Array.from({ length: 400 }, () => 0.03) }));
    // The minimum solves Ax = b; gradient descent finds it.
    let best = start;
    for (let i = 0; i < 2000; i++)
      best = best.map(
        (value, k) => value - 0.1 * (problem.a[k]!.reduce((s, a, j) => s + a * best[j]!, 0) - problem.b[k]!),
      );
    const left = (loss(after.at(-1)!.weight!) - loss(best)) / (loss(start) - loss(best));
    expect(left).toBeLessThan(0.02);
  });

  const outside: Readonly<Record<string, readonly unknown[]>> = {
    weightDecay: [-1e-9, Number.NaN, Number.POSITIVE_INFINITY, "0.1", null],
    smoothing: [-1e-9, 1.000001, Number.NaN, "0.1"],
  };
  test("refuses hyperparameters out of range, and unknown ones, by their names", () => {
    expect(Object.keys(outside)).toEqual(expect.arrayContaining(Object.keys(shown[name])));
    for (const option of Object.keys(shown[name])) {
      for (const value of outside[option]!) {
        expect(() => optimizers[name].configure({ [option]: value }), `${option} = ${value}`).toThrow(
          expect.objectContaining({
            name: "ZerothError",
            kind: "usage",
            message: expect.stringMatching(
              new RegExp(`^The optimizer ${name} does not take these options.\n${option}: `),
            ),
          }),
        );
      }
      for (const value of [0, 1]) expect(() => optimizers[name].configure({ [option]: value })).not.toThrow();
    }
    expect(() => optimizers[name].configure({ momentum: 0.9 })).toThrow(/momentum/);
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (options) => {
        try {
          optimizers[name].configure(options);
        } catch (error) {
          expect(error).toBeInstanceOf(ZerothError);
        }
      }),
    );
  });

  test("its starting points are the defaults of a run, by method; what is said goes before them", () => {
    const { adapter, full } = optimizers[name].defaults;
    for (const [method, tuning] of [
      ["lora", adapter],
      ["full", full],
    ] as const) {
      const [perturbation] = optimizers[name].noises;
      expect(resolveSettings({ optimizer: name, method }, 1)).toMatchObject({ ...tuning, perturbation });
      expect(resolveSettings({ optimizer: name, method, learningRate: 0.5 }, 1)).toMatchObject({
        learningRate: 0.5,
        epsilon: tuning.epsilon,
      });
    }
    // MeZO's published radii, the adapter's ten times the model's; full training takes smaller steps.
    expect([adapter.epsilon, full.epsilon]).toEqual([1e-2, 1e-3]);
    expect(full.learningRate).toBeLessThan(adapter.learningRate);
  });
});

describe("HiZOO", () => {
  const rule = reference(optimizers.hizoo.rule);
  /** One element. */
  const once = (h: number, scalars: { smoothing: number; meanCurvature: number }, zz: number) => {
    const buffers = {
      weight: Float32Array.of(1),
      h: Float32Array.of(h),
      g: Float32Array.of(2),
      zz: Float32Array.of(zz),
    };
    rule(1, buffers, { learningRate: 0.5, decay: 1, keep: 1 - scalars.smoothing, ...scalars });
    return { h: buffers.h[0]!, weight: buffers.weight[0]! };
  };

  test("without smoothing is MeZO, whatever the curvature", async () => {
    const setup: Setup = { epsilon: 1e-2, queries: 2, noise: "gaussian", options: { smoothing: 0 }, rates };
    const [found, plain] = [await zeroth("hizoo", setup), await zeroth("mezo", { ...setup, options: {} })];
    // The one with three evaluations divides by 1; its numbers are the other's.
    expect(found.map(({ weight }) => weight)).toEqual(plain.map(({ weight }) => weight));
    expect(found.at(-1)!.h).toEqual(start.map(() => 1));
  });

  test("keeps H above 10⁻⁸ where the curvature is negative, and steps by the new H", () => {
    expect(once(1, { smoothing: 1, meanCurvature: 0 }, -5)).toEqual({
      h: Math.fround(1e-8),
      weight: Math.fround(1 - 0.5 * Math.fround(2 / Math.fround(Math.sqrt(Math.fround(1e-8))))),
    });
    // H: 4 → 0.5·4 + 0.5·4·(9 − 1) = 18, not 4, under the root.
    const { h, weight } = once(4, { smoothing: 0.5, meanCurvature: 1 }, 9);
    expect(h).toBe(18);
    expect(weight).toBeCloseTo(1 - (0.5 * 2) / Math.sqrt(18), 6);
  });

  test("perturbs by H^(−½)·z, and a plain optimizer by z itself", () => {
    const z = Float32Array.of(3, -3, 1, 0.5);
    const h = Float32Array.of(1, 4, 0.25, 16);
    for (const noise of Object.values(perturbations)) {
      const out = new Float32Array(4);
      reference({ out: optimizers.hizoo.shape!(noise).direction })(4, { z, h, out }, {});
      expect([...out]).toEqual([3, -1.5, 2, 0.125]);
      expect(optimizers.hizoo.shape!(noise).distribution).toBe(noise.distribution);
      reference({ out: noise.direction })(4, { z, h, out }, {});
      expect([...out]).toEqual([...z]);
    }
  });
});

test("each perturbation draws the noise of its name", () => {
  expect(Object.entries(perturbations).map(([name, { distribution }]) => [name, distribution])).toEqual([
    ["gaussian", "gaussian"],
    ["rademacher", "rademacher"],
  ]);
  for (const [name, perturbation] of Object.entries(perturbations)) expect(perturbation.name).toBe(name);
});
