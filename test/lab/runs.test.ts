import { describe, expect, test } from "vitest";
import { contenders } from "../../src/lab/contenders.js";
import { quadratic } from "../../src/lab/functions.js";
import { lossNoise } from "../../src/lab/normal.js";
import { smoothed } from "../../src/lab/smoothed.js";
import { sweep } from "../../src/lab/sweep.js";
import { reached, type Trace, trace } from "../../src/lab/trace.js";
import { tuneAll } from "../../src/lab/tune.js";
import { optimizers } from "../../src/optimizer/optimizers.js";

const problem = quadratic(10, 1);

describe("a sweep", () => {
  const scored = (score: (rate: number) => number) => {
    const rates: number[] = [];
    const attempt = async (rate: number) => {
      rates.push(rate);
      return { score: score(rate), outcome: rate };
    };
    return { rates, attempt };
  };
  test.each([1e-7, 1e-4, 1e-2, 3.2e-2, 10])(
    "finds the bottom of a valley at %d, and tries no rate twice",
    async (best) => {
      const { rates, attempt } = scored((rate) => Math.abs(Math.log(rate / best)));
      expect(await sweep(attempt, 1e-2)).toMatchObject({ learningRate: best, outcome: best });
      expect(new Set(rates).size).toBe(rates.length);
    },
  );
  test("goes down from a divergence, and takes the smaller of two that are as good", async () => {
    const edge = scored((rate) => (rate > 1e-5 ? Number.POSITIVE_INFINITY : -rate));
    expect((await sweep(edge.attempt, 1)).learningRate).toBe(1e-5);
    const flat = scored((rate) => (rate > 1e-3 ? 1 : 2));
    expect((await sweep(flat.attempt, 1)).learningRate).toBe(3.2e-3);
  });
  test("ends where everything diverges", async () => {
    const { attempt, rates } = scored(() => Number.POSITIVE_INFINITY);
    expect((await sweep(attempt, 1)).score).toBe(Number.POSITIVE_INFINITY);
    expect(rates.length).toBeLessThan(25);
  });
});

describe("a run", () => {
  const mezo = { name: "mezo", learningRate: 1e-3, epsilon: 1e-4 } as const;
  test("spends its budget and no more, whatever a step costs", async () => {
    for (const [name, each] of [
      ["mezo", 2],
      ["hizoo", 3],
      ["fzoo", 9],
    ] as const) {
      const { moments } = await trace(problem, {
        optimizer: { ...mezo, name, learningRate: 1e-4 },
        seed: 1,
        budget: 20,
      });
      expect(moments.map(({ evaluations }) => evaluations)).toEqual(
        Array.from({ length: Math.floor(20 / each) + 1 }, (_, i) => i * each),
      );
      for (const { x, excess } of moments) expect(excess).toBe(problem.value(x) - problem.least);
    }
  });
  test("that diverges says so, and ends there", async () => {
    const run = await trace(problem, { optimizer: { ...mezo, learningRate: 1e3 }, seed: 1, budget: 100 });
    expect(run.diverged).toBe(true);
    expect(run.moments.length).toBeLessThan(10);
    expect(reached(run)).toBe(Number.POSITIVE_INFINITY);
  });
  test("is the same again, and another with another seed or with noise", async () => {
    const run = (change: object) => trace(problem, { optimizer: mezo, seed: 1, budget: 20, ...change });
    const [one, two, other, noisy] = await Promise.all([{}, {}, { seed: 2 }, { noise: 0.1 }].map(run));
    expect(one).toEqual(two);
    expect(other).not.toEqual(one);
    expect(noisy).not.toEqual(one);
    // What is told is free of the noise that the optimizer saw.
    for (const { x, excess } of noisy!.moments) expect(excess).toBe(problem.value(x));
  });
  test("is refused for options that make no sense", async () => {
    const optimizer = { ...mezo, hyperparameters: { smoothing: 1 } };
    await expect(trace(problem, { optimizer, seed: 1, budget: 20 })).rejects.toThrow("smoothing");
  });
  test("is judged by the geometric mean of its last tenth", () => {
    const moments = Array.from({ length: 101 }, (_, i) => ({
      ...{ evaluations: 2 * i, x: new Float32Array(1) },
      excess: i < 90 ? 5 : 10 ** (i - 95),
    }));
    expect(reached({ moments, diverged: false })).toBeCloseTo(1, 9);
    expect(reached({ moments: [{ evaluations: 0, x: new Float32Array(1), excess: 0 }], diverged: false })).toBeCloseTo(
      1e-12,
      20,
    );
  });
});

test("noise on a loss is standard normal, and its own from value to value and seed to seed", () => {
  const noiseAt = lossNoise(4);
  const values = Array.from({ length: 5000 }, (_, i) => noiseAt(i));
  const moment = (power: number) => values.reduce((sum, value) => sum + value ** power, 0) / values.length;
  for (const [power, expected, deviation] of [
    [1, 0, 1],
    [2, 1, Math.SQRT2],
    [3, 0, Math.sqrt(15)],
    [4, 3, Math.sqrt(96)],
  ] as const)
    expect(Math.abs(moment(power) - expected)).toBeLessThan((4 * deviation) / Math.sqrt(values.length));
  expect(new Set(values).size).toBeGreaterThan(4950);
  expect(lossNoise(5)(0)).not.toBe(values[0]);
});

test("an optimizer is tuned for each task, and the sweep of the next begins where the last one ended", async () => {
  const [mezo] = contenders(["mezo"]);
  const tasks = [{ problem }, { problem: quadratic(1e3, 1) }];
  const [even, steep] = await tuneAll(tasks, mezo!, { seed: 1, budget: 100, epsilon: 1e-4 });
  expect(even!.excess).toBeLessThan(problem.value(problem.start));
  expect(even!.rates).toEqual([even!.optimizer.learningRate]);
  expect(steep!.optimizer.learningRate).toBeLessThan(even!.optimizer.learningRate!);
  // The tuned run is the run of those settings.
  const again = await trace(problem, { optimizer: even!.optimizer, seed: 1, budget: 100 });
  expect(even!.trace).toEqual(again);
});

test("those that take part are named, or one of each arithmetic; adapters' are refused", () => {
  const names = (list: ReturnType<typeof contenders>) => list.map(({ name }) => name);
  expect(names(contenders(["hizoo", "mezo"]))).toEqual(["hizoo", "mezo"]);
  expect(names(contenders(undefined, 2))).toEqual(["mezo", "zo-sign"]);
  const all = names(contenders(undefined));
  // ZO-SGD is MeZO, and LeZO is where there are no blocks.
  for (const twin of ["zo-sgd", "lezo", "p-rge"]) expect(all).not.toContain(twin);
  expect(all.length).toBeGreaterThan(15);
  for (const { name, variants } of contenders(undefined))
    for (const { hyperparameters = {} } of variants)
      expect(() => optimizers[name].configure(hyperparameters)).not.toThrow();
  expect(() => contenders(["hizo"])).toThrow(/no optimizer hizo\. .*mezo/);
  expect(() => contenders(["toString"])).toThrow("no optimizer toString");
  expect(() => contenders(["p-rge"])).toThrow("adapter");
});

test("a curve is smoothed on the logarithm, from its first point on", () => {
  const excess = (i: number) => 2 ** -i * (i % 2 === 0 ? 2 : 0.5);
  const moments: Trace["moments"] = Array.from({ length: 9 }, (_, i) => ({
    ...{ evaluations: 2 * i, x: new Float32Array(1) },
    excess: excess(i),
  }));
  const points = smoothed({ moments, diverged: false }, 1e-9, 4);
  expect(points[0]).toEqual([0, 2]);
  expect(points.slice(1).map(([x]) => x)).toEqual([3, 7, 11, 15]);
  for (const [k, [, y]] of points.slice(1).entries()) expect(y).toBeCloseTo(2 ** -(1.5 + 2 * k), 9);
  expect(smoothed({ moments, diverged: false }, 1)[8]![1]).toBe(1);
});
