import { describe, expect, test } from "vitest";
import type { OptimizerChoice } from "../../src/api/types.js";
import { estimates } from "../../src/lab/estimates.js";
import type { Row, Setting } from "../../src/lab/experiment.js";
import { type ExperimentName, experiments } from "../../src/lab/experiments.js";
import { landscapes, linear } from "../../src/lab/functions.js";
import { reached, trace } from "../../src/lab/trace.js";
import { elements, numbersOf } from "../svg.js";

const setting: Setting = { seed: 3, optimizers: ["mezo", "zo-sign"], steps: 6 };
const number = (row: Row, name: string): number => {
  const value = row[name];
  if (typeof value !== "number") throw new Error(`${name} of ${JSON.stringify(row)}`);
  return value;
};

describe.each(Object.keys(experiments) as ExperimentName[])("%s", (name) => {
  test("gives the same rows and the same picture again, others with another seed", async () => {
    const told: number[] = [];
    const { rows, picture } = await experiments[name].run({
      ...setting,
      onProgress: (done, total) => told.push(done / total),
    });
    expect(await experiments[name].run(setting)).toEqual({ rows, picture });
    expect((await experiments[name].run({ ...setting, seed: 4 })).rows).not.toEqual(rows);
    expect(told).toEqual([...told].sort((a, b) => a - b));
    expect(told.at(-1)).toBe(1);
    // Rows are a table, and JSON: the same names in each, numbers that are some.
    expect(new Set(rows.map((row) => Object.keys(row).join())).size).toBe(1);
    expect(JSON.parse(JSON.stringify(rows))).toEqual(rows);
    expect(elements(picture)).toContain("svg");
    expect(numbersOf(picture)).not.toMatch(/NaN|Infinity|undefined/);
    expect(picture).not.toMatch(/>[^<]*(NaN|Infinity|undefined)/);
    const ids = [...picture.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
    expect(new Set(ids).size).toBe(ids.length);
    for (const [, id] of picture.matchAll(/url\(#([^)]+)\)/g)) expect(ids).toContain(id);
  }, 120_000);
});

test("every optimizer that is named has a row for each function, and its name in the picture", async () => {
  for (const name of ["trajectories", "conditioning", "noise"] as const) {
    const { rows, picture } = await experiments[name].run(setting);
    const count = (optimizer: string): number => rows.filter((row) => row.optimizer === optimizer).length;
    expect(count("mezo")).toBe({ trajectories: 3, conditioning: 4, noise: 5 }[name]);
    expect(count("zo-sign")).toBe(count("mezo"));
    expect(rows).toHaveLength(2 * count("mezo"));
    for (const optimizer of ["mezo", "zo-sign"]) expect(picture).toContain(`>${optimizer}<`);
  }
});

describe("the variance of the two-sided estimate of a linear function", () => {
  const known = linear(3);
  const d = known.start.length;
  const slope = known.gradient(known.start);
  const size = slope.reduce((sum, value) => sum + value * value, 0);
  /** Mean over estimates of ‖g − ∇‖² / ‖∇‖², with its standard error. */
  const varianceOf = async (perturbation: OptimizerChoice["perturbation"], queries: number) => {
    const optimizer = { name: "mezo", perturbation, queries, epsilon: 1 } as const;
    const made = await estimates(known, { optimizer, seed: 9, count: Math.round(800 / queries) });
    const ratios = made.map((g) => g.reduce((sum, value, i) => sum + (value - slope[i]!) ** 2, 0) / size);
    const mean = ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length;
    const spread = ratios.reduce((sum, ratio) => sum + (ratio - mean) ** 2, 0) / (ratios.length - 1);
    return { mean, error: Math.sqrt(spread / ratios.length) };
  };
  test.each([1, 2, 4])("is (d + 1)/q of gaussian and (d − 1)/q of rademacher noise, with q = %d", async (q) => {
    for (const [perturbation, numerator] of [
      ["gaussian", d + 1],
      ["rademacher", d - 1],
    ] as const) {
      const { mean, error } = await varianceOf(perturbation, q);
      expect(Math.abs(mean - numerator / q)).toBeLessThan(3 * error);
      expect(error).toBeLessThan((0.1 * numerator) / q);
    }
  });
  test("is what the table's theory says, less the mean's own 1", async () => {
    const { rows } = await experiments.variance.run({ seed: 3, steps: 2 });
    for (const row of rows) {
      const numerator = { gaussian: d + 1, sphere: d - 1, rademacher: d - 1 }[String(row.noise)];
      if (numerator !== undefined) expect(row.theory).toBeCloseTo(1 + numerator / number(row, "queries"), 12);
    }
    expect(rows).toHaveLength(5 * 6);
  });
});

describe("estimates", () => {
  test("have the mean and the exactness that the noise says: one query is s·z with s its slope along z", async () => {
    const known = linear(3);
    const slope = known.gradient(known.start);
    const [g] = await estimates(known, {
      optimizer: { name: "mezo", perturbation: "rademacher", epsilon: 1 },
      seed: 1,
      count: 1,
    });
    // |z| is 1 everywhere, so every element of g is ±s, and g·∇ = s².
    const s = Math.abs(g![0]!);
    for (const value of g!) expect(Math.abs(value)).toBeCloseTo(s, 5);
    expect(g!.reduce((sum, value, i) => sum + value * slope[i]!, 0)).toBeCloseTo(s * s, 4);
  });
  test("are all made at the start", async () => {
    const known = linear(3);
    const seen: number[][] = [];
    const start = Float32Array.from({ length: 16 }, (_, i) => i);
    const value = (x: ArrayLike<number>): number => {
      seen.push(Array.from(x));
      return known.value(x);
    };
    await estimates({ ...known, start, value }, { optimizer: { name: "mezo", epsilon: 0.5 }, seed: 1, count: 3 });
    for (let i = 0; i < seen.length; i += 2)
      for (const [k, middle] of start.entries()) expect((seen[i]![k]! + seen[i + 1]![k]!) / 2).toBeCloseTo(middle, 4);
  });
});

describe("conditioning", () => {
  test("mezo's best rate is about 1/(tr Λ + 2λ), and what it leaves grows with the condition, turned or not", async () => {
    const { rows } = await experiments.conditioning.run({ seed: 3, optimizers: ["mezo"], steps: 150 });
    const found = (condition: number, rotated: "yes" | "no" = "no"): Row =>
      rows.find((row) => row.condition === condition && row.rotated === rotated)!;
    for (const condition of [10, 1e3, 1e5]) {
      // A step of plain SGD on s·z shrinks the loss most at that rate: E[s² zᵀΛz] = ‖∇‖² tr Λ + 2 ∇ᵀΛ∇.
      const trace = Array.from({ length: 64 }, (_, i) => condition ** (i / 63)).reduce((sum, value) => sum + value, 0);
      const rate = 1 / (trace + 2 * condition);
      const ratio = number(found(condition), "learningRate") / rate;
      // Rates are half decades.
      expect(Math.abs(Math.log10(ratio))).toBeLessThan(0.6);
    }
    const left = [10, 1e3, 1e5].map((condition) => number(found(condition), "lossLeft"));
    expect(left).toEqual([...left].sort((a, b) => a - b));
    expect(left[2]! / left[0]!).toBeGreaterThan(2);
    // Gaussian noise has no directions of its own.
    expect(number(found(1e3, "yes"), "lossLeft") / left[1]!).toBeGreaterThan(0.75);
    expect(number(found(1e3, "yes"), "lossLeft") / left[1]!).toBeLessThan(1.33);
  });
});

describe("epsilon", () => {
  test("noise costs ∝ σ/ε, bias ∝ ε² (one-sided ∝ ε), and the best ε is ∝ ∛σ", async () => {
    const { rows } = await experiments.epsilon.run({ seed: 3, steps: 16 });
    const errorOf = (losses: string, epsilon: number): number =>
      number(rows.find((row) => row.losses === losses && row.epsilon === epsilon)!, "error");
    const best = (losses: string): number => {
      const own = rows.filter((row) => row.losses === losses);
      return number(
        own.reduce((least, row) => (number(row, "error") < number(least, "error") ? row : least)),
        "epsilon",
      );
    };
    expect(errorOf("noise 0.01", 1e-5) / errorOf("noise 0.01", 1e-4)).toBeCloseTo(10, 1);
    expect(errorOf("noise 0.01", 1e-4) / errorOf("noise 0.0001", 1e-4)).toBeCloseTo(100, 0);
    expect(Math.log10(errorOf("exact", 1e-1) / errorOf("exact", 1e-2))).toBeCloseTo(2, 1);
    expect(Math.log10(errorOf("float32, one-sided", 1e-1) / errorOf("float32, one-sided", 1e-2))).toBeCloseTo(1, 1);
    // 100 times the noise: ∛100 = 4.6 times the ε, in half decades.
    expect(Math.log10(best("noise 0.01") / best("noise 0.0001"))).toBeCloseTo(0.5, 1);
    // Rounding to fp32 is noise of about 4e-8 on a loss near 1.
    expect(best("float32")).toBeGreaterThanOrEqual(1e-3);
    expect(best("float32")).toBeLessThanOrEqual(1e-2);
    expect(best("float32, one-sided")).toBeLessThan(best("float32"));
  });
});

test("curvature of its own pays where one variable is 10,000 times as steep", async () => {
  const ravine = landscapes.find(({ name }) => name === "ravine")!;
  const run = { seed: 0, budget: 600 };
  const mezo = await trace(ravine, { ...run, optimizer: { name: "mezo", learningRate: 1e-6, epsilon: 1e-4 } });
  // x is at rest soon, and its curvature bounds the rate: y has hardly moved from 1.6.
  expect(reached(mezo)).toBeGreaterThan(2.5);
  const hyperparameters = { smoothing: 0.3, reference: 1 };
  const hizoo = { name: "hizoo", learningRate: 0.32, epsilon: 1e-4, hyperparameters } as const;
  expect(reached(await trace(ravine, { ...run, optimizer: hizoo }))).toBeLessThan(1e-6);
});
