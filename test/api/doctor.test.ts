import { createHash } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { full, hizoo, lora, mezo } from "../../src/api/choices.js";
import {
  checkNoise,
  computationalNoise,
  type Losses,
  lossesOf,
  measureNoise,
  type NoiseMeasurement,
  reachOf,
  smallBatch,
  THOROUGH,
} from "../../src/api/doctor/noise.js";
import { probeRates, walkOf } from "../../src/api/doctor/rates.js";
import { noiseWarnings } from "../../src/api/doctor/warnings.js";
import { doctor } from "../../src/api/doctor.js";
import { openEngine } from "../../src/api/engines.js";
import { trainingTrees } from "../../src/api/examples.js";
import { load, type Model } from "../../src/api/load.js";
import { trainerOf } from "../../src/api/prepare.js";
import { resolveSettings, said } from "../../src/api/settings.js";
import type { DoctorOptions, DoctorProgress, DoctorReport } from "../../src/api/types.js";
import { packs } from "../../src/batch/pack.js";
import { readRows } from "../../src/data/rows.js";
import { batchOrder, splitRows } from "../../src/data/split.js";
import { templateTask } from "../../src/data/template.js";
import type { TokenTree } from "../../src/data/tree.js";
import type { Engine } from "../../src/engine/engine.js";
import { ZerothError } from "../../src/errors.js";
import { classification } from "../../src/objective/option.js";
import type { Key } from "../../src/random/key.js";
import { tensorId, tensorKey } from "../../src/random/key.js";
import { gaussianAt } from "../../src/random/noise.js";
import { driving, takeStep } from "../../src/train/step.js";
import { asset, question, task } from "../seedling.js";

/* What the doctor says, against functions whose noise and slopes are known, and on the model that ships with Zeroth. */

const noiseKey = tensorKey({ seed: 7n, stream: "noise", step: 0, query: 0 }, tensorId("rounding"));
let drawn = 0;
/** Another draw of N(0, 1) each time. */
const draw = (): number => gaussianAt(noiseKey, drawn++);

describe("computational noise", () => {
  const rungs = [-3, -2, -1, 0, 1, 2, 3];
  test.each([1e-2, 1e-5, 1e-9])("of %s is found in a smooth function, within a factor of two on the whole", (sigma) => {
    const ratios = Array.from({ length: 40 }, () => {
      const { level, verdict } = computationalNoise(rungs.map((t) => Math.exp(1 + 1e-4 * t) + sigma * draw()));
      expect(verdict).toBe("found");
      return level / sigma;
    }).sort((a, b) => a - b);
    expect(ratios[20]).toBeGreaterThan(0.7);
    expect(ratios[20]).toBeLessThan(1.4);
    expect(ratios[0]).toBeGreaterThan(0.1);
    expect(ratios[39]).toBeLessThan(3);
  });

  test("is no more than bounded where the function is smooth, or does not change", () => {
    expect(computationalNoise(rungs.map((t) => Math.exp(t / 10)))).toMatchObject({ verdict: "smooth" });
    expect(computationalNoise(rungs.map(() => 0.7))).toEqual({ level: 0, verdict: "equal" });
    expect(computationalNoise([1, 1, 1, 1, 2, 2, 2]).verdict).toBe("equal");
  });
});

describe("the noise floor of a given function", () => {
  const keys = [0, 1, 2].map((step): Key => ({ seed: 0n, stream: "noise", step, query: 0 }));
  /** Losses along the keys' directions: a function of the distance t, and of which direction it is. */
  const along =
    (f: (t: number, direction: number) => number): Losses =>
    async (points) =>
      points.map(([term]) => (term === undefined ? f(0, 0) : f(term.scale, term.key.step)));
  const slopes = [3, -1, 2];
  const steepness = Math.sqrt((9 + 1 + 4) / 3);
  const measured = (f: (t: number, direction: number) => number, given: Partial<NoiseMeasurement> = {}) =>
    measureNoise(along(f), { epsilon: 1e-2, usual: 1e-2, keys, ...THOROUGH, ...given });
  const slope = (t: number, direction: number): number => (slopes[direction] ?? 0) * t;

  test("signal, noise and bias are those that were put in", async () => {
    const sigma = 1e-6;
    const report = await measured((t, i) => 0.7 + slope(t, i) * (1 + 40 * t * t) + 5 * t * t + sigma * draw());
    expect(report.roundingNoise / sigma).toBeGreaterThan(0.4);
    expect(report.roundingNoise / sigma).toBeLessThan(2.5);
    expect(report.projectedGradient).toBeCloseTo(steepness, 1);
    const asked = [1e-4, 1e-3, 1e-2 / 3, 1e-2, 3e-2, 0.1];
    expect(report.radii).toHaveLength(asked.length);
    for (const [i, { epsilon }] of report.radii.entries()) expect(epsilon / asked[i]!).toBeCloseTo(1, 12);
    for (const { epsilon, difference, signalToNoise, bias } of report.radii) {
      const true_ = 2 * epsilon * steepness * (1 + 40 * epsilon ** 2);
      expect(difference! / true_).toBeCloseTo(1, 1);
      expect(signalToNoise).toBeCloseTo(difference! / Math.SQRT2 / report.roundingNoise, 6);
      expect(Math.abs(bias! - 40 * epsilon ** 2)).toBeLessThan(0.02);
    }
    expect(report.recommended).toBe(1e-2);
    expect(noiseWarnings(report)).toEqual([]);
    // 40·ε² = 0.2
    expect(reachOf(report)).toBeCloseTo(Math.sqrt(0.2 / 40), 2);
  });

  test("an ε that is too small or too large is told, with a good one", async () => {
    const f = (t: number, i: number) => 0.7 + Math.sin(slope(t, i)) + 1e-7 * draw();
    for (const [epsilon, word] of [
      [1e-9, "too small"],
      [10, "too large"],
    ] as const) {
      const report = await measured(f, { epsilon });
      expect(report.recommended).toBeGreaterThanOrEqual(1e-4);
      expect(report.recommended).toBeLessThanOrEqual(0.1);
      const [warning] = noiseWarnings(report);
      expect(warning).toMatchObject({ check: "noise", message: expect.stringContaining(word) });
      expect(warning?.advice).toBe(`--epsilon ${report.recommended}`);
    }
  });

  test("a noise that drowns every difference is told as that", async () => {
    const report = await measured((t, i) => 0.7 + Math.tanh(slope(t, i)) + 0.3 * draw());
    expect(report.recommended).toBeNull();
    expect(reachOf(report)).toBeUndefined();
    const [warning] = noiseWarnings(report);
    expect(warning?.message).toContain("drowns");
    expect(warning?.advice).toContain("fp32");
  });

  test("a loss in half precision has the noise of its rounding, and takes a larger ε", async () => {
    const step = 2 ** -11;
    const rounded = (loss: number) => Math.round(loss / step) * step;
    const f = (t: number, i: number) => rounded(0.7 + Math.sin(slope(t, i)));
    const report = await measured(f, { epsilon: 1e-4 });
    expect(report.roundingNoise / (step / Math.sqrt(12))).toBeGreaterThan(0.3);
    expect(report.roundingNoise / (step / Math.sqrt(12))).toBeLessThan(3);
    expect(noiseWarnings(report)[0]?.message).toContain("too small");
    expect(report.recommended).toBeGreaterThanOrEqual(1e-2);
  });

  test("a loss that is not finite far away, or never changes, is no defect; at the start it is", async () => {
    const cliff = await measured((t, i) => (Math.abs(t) > 0.05 ? Number.NaN : 0.7 + slope(t, i)), { epsilon: 0.1 });
    expect(cliff.radii.find(({ epsilon }) => epsilon === 0.1)).toMatchObject({ difference: null, bias: null });
    expect(noiseWarnings(cliff)[0]?.message).toContain("not finite");
    expect(cliff.recommended).toBeLessThan(0.05);
    const flat = await measured(() => 0.7);
    expect(flat).toMatchObject({ recommended: null, projectedGradient: 0 });
    expect(JSON.parse(JSON.stringify(flat))).toEqual(flat);
    await expect(measured(() => Number.NaN)).rejects.toThrow(ZerothError);
  });
});

describe("the walk of a run", () => {
  test("is the root of the sum of its squared rates, times the slope", () => {
    const base = { learningRate: 1e-3, warmup: 0, steps: 900 } as const;
    expect(walkOf({ ...base, kind: "constant" }, 2)).toBeCloseTo(30 * 1e-3 * 2, 12);
    expect(walkOf({ ...base, kind: "linear" }, 2)).toBeCloseTo((30 * 1e-3 * 2) / Math.sqrt(3), 3);
    expect(walkOf({ ...base, kind: "constant", steps: 90_000 }, 2)).toBeCloseTo(300 * 1e-3 * 2, 12);
  });
});

const engines: Engine[] = [];
afterAll(async () => {
  for (const engine of engines) await engine.close();
});

let model: Model;
/** The training rows of a run without dev rows, in the order of its steps. */
let treesOf: (step: number, batchSize?: number) => readonly TokenTree[];
beforeAll(async () => {
  model = await load(asset("seedling"));
  const rows = await readRows(join(asset("quickstart"), "train.jsonl"));
  const train = splitRows(rows.length, { devRows: 0, seed: 0n }).train.flatMap((index) => rows[index] ?? []);
  const treeAt = trainingTrees(model, templateTask(question), train);
  treesOf = (step, batchSize = 16) => batchOrder(train.length, batchSize, 0n)(step).map(treeAt);
});

/** An open engine of a run, as `finetune` has it before its first step. */
const opened = async (options: Partial<DoctorOptions>) => {
  const settings = resolveSettings(said({ ...task, ...options }), 1);
  const training = trainerOf(model, settings, 600);
  const { method, stepper } = training;
  const engine = await openEngine(model, { method, training, seed: 0n, threads: 1 });
  engines.push(engine);
  return { settings, stepper, engine, batch: smallBatch(model.family, classification, treesOf(0)) };
};
/** Every tensor that an engine holds, states too, bit for bit. */
const valuesOf = (engine: Engine, name: string) => engine.read({ name, start: 0, count: 2 ** 24 });
/** A hash of each tensor: comparing millions of elements one by one takes seconds. */
const held = async (engine: Engine): Promise<ReadonlyMap<string, string>> => {
  const all = new Map<string, string>();
  for (const { name } of await engine.held())
    all.set(
      name,
      createHash("sha1")
        .update(new Uint8Array((await valuesOf(engine, name)).buffer))
        .digest("hex"),
    );
  return all;
};

describe("the quick check of an open engine", () => {
  test.each([
    ["LoRA", { method: lora() }],
    ["all weights", { method: full() }],
  ])("agrees with finite differences and leaves %s bit-identical", async (_, options) => {
    const { settings, stepper, engine, batch } = await opened(options);
    const before = await held(engine);
    const { epsilon } = settings;
    const report = await checkNoise(engine, { epsilon, usual: epsilon, seed: stepper.seed, batch });
    expect(await held(engine)).toEqual(before);
    expect(report.recommended).toBe(epsilon);
    expect(noiseWarnings(report)).toEqual([]);
    // fp32 keeps 24 bits of a loss near 1; a mean of few rows is no more than some dozens of roundings off.
    expect(report.roundingNoise).toBeGreaterThan(2 ** -26);
    expect(report.roundingNoise).toBeLessThan(2 ** -16);

    const key = (step: number): Key => ({ seed: 0n, stream: "noise", step, query: 0 });
    const at = (scale: number, step: number) => [{ key: key(step), scale }];
    const radii = [epsilon, epsilon / 10];
    const losses = await lossesOf(
      engine,
      batch,
    )(radii.flatMap((radius) => [0, 1].flatMap((step) => [at(radius, step), at(-radius, step)])));
    const slope = (i: number) => (losses[i]! - losses[i + 1]!) / (2 * radii[Math.floor(i / 4)]!);
    const gap = Math.hypot(slope(0) - slope(4), slope(2) - slope(6)) / Math.hypot(slope(4), slope(6));
    expect(gap).toBeLessThan(0.05);
    expect(report.radii.at(-1)?.bias).toBeCloseTo(gap, 3);
    if (options.method.kind === "full") {
      // What the check has to take back: walks round.
      expect(await held(engine)).not.toEqual(before);
      await engine.rewind();
      expect(await held(engine)).toEqual(before);
    }
  });
});

describe("the probe of learning rates", () => {
  test.each([
    ["LoRA", { method: lora() }, 1e3],
    ["all weights", { method: full() }, 1],
    ["HiZOO and its state", { method: full(), optimizer: hizoo() }, 1],
  ])(
    "with %s tells an absurd rate, finds one that holds, and leaves everything bit-identical",
    async (_, options, absurd) => {
      const { stepper, engine, batch } = await opened(options);
      const before = await held(engine);
      const { loss, rates } = await probeRates(engine, {
        ...{
          stepper,
          learningRate: absurd,
          batch,
          reach: undefined,
          projectedGradient: 0,
          roundingNoise: 1e-6,
        },
      });
      expect(await held(engine)).toEqual(before);
      expect(loss).toBe((await lossesOf(engine, batch)([[]]))[0]);
      expect(rates.at(-1)).toMatchObject({ learningRate: absurd, verdict: "diverges" });
      expect(rates.some(({ verdict, change }) => verdict === "lowers" && change !== null && change < 0)).toBe(true);
      const order = rates.map(({ verdict }) => ["lowers", "overshoots", "diverges"].indexOf(verdict));
      expect(order).toEqual(order.toSorted((a, b) => a - b));
    },
  );

  test("holds a rate to what the slopes along its way promise", async () => {
    const { stepper, engine, batch } = await opened({ method: lora() });
    const learningRate = 1e-5;
    const { loss, rates } = await probeRates(engine, {
      ...{ stepper, learningRate, batch, reach: undefined, projectedGradient: 0, roundingNoise: 1e-7 },
      hasTime: () => false,
    });
    expect(rates).toHaveLength(1);
    let promised = 0;
    for (let step = 0; step < 5; step++) {
      const driver = driving(engine, lossesOf(engine, batch));
      const { losses } = (await takeStep(stepper, step, learningRate, driver)).record;
      promised += learningRate * ((losses[0]! - losses[1]!) / (2 * stepper.epsilon)) ** 2;
    }
    const [end = 0] = await lossesOf(engine, batch)([[]]);
    expect(rates[0]?.change).toBe(end - loss);
    expect(rates[0]?.gain).toBeCloseTo((loss - end) / promised, 3);
    // A small step does what its slope promises.
    expect(rates[0]?.gain).toBeCloseTo(1, 1);
  });
});

describe("a report", () => {
  const examined = (options: Partial<DoctorOptions>) => doctor(model, { ...task, threads: 1, devRows: 0, ...options });
  const checksOf = ({ warnings }: DoctorReport) => warnings.map(({ check }) => check);

  test("on a healthy run has no warning, and its numbers agree with each other and with a direct count", async () => {
    const progress: DoctorProgress[] = [];
    const report = await examined({ steps: 600, onProgress: (event) => progress.push(event) });
    expect(report.warnings).toEqual([]);
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
    expect([...new Set(progress.map(({ check }) => check))]).toEqual(["steps", "noise", "learning rate", "rounding"]);
    expect(progress.every(({ done, total }) => done >= 0 && done <= total)).toBe(true);

    const { noise, rates, moved, packing, cost } = report;
    expect(noise).toMatchObject({ epsilon: 1e-2, recommended: 1e-2 });
    expect(rates).toMatchObject({ learningRate: 1e-3, rows: 16 });
    expect(rates.rates.find(({ learningRate }) => learningRate === 1e-3)?.verdict).toBe("lowers");
    expect(rates.rates.at(-1)?.verdict).not.toBe("lowers");
    expect(rates.walk).toBeCloseTo(Math.sqrt(600) * 1e-3 * rates.projectedGradient, 9);
    expect(rates.suggested! / (rates.reach! / (Math.sqrt(600) * rates.projectedGradient))).toBeCloseTo(1, 0);
    expect(moved?.step.float32).toBe(1);
    expect(cost).toMatchObject({ steps: 600, parameters: model.parameters });
    // q: 192 → 192, v: 192 → 64, six layers of each, rank 8.
    expect(cost.trainableParameters).toBe(6 * 8 * (192 + 192 + 192 + 64));
    expect(cost.seconds).toBeCloseTo(600 * cost.secondsPerStep, 9);
    expect(cost.secondsPerStep).toBeGreaterThan(0);
    expect(cost.expectedPeakRssBytes).toBeGreaterThanOrEqual(cost.rssBytes);

    // 512 rows are 32 steps of 16.
    const steps = Array.from({ length: 32 }, (_, step) => treesOf(step));
    const fed = steps.map((trees) => packs(trees));
    const tokens = fed.flat().reduce((sum, { ids }) => sum + ids.length, 0);
    let padded = 0;
    for (const trees of steps) {
      let longest = 0;
      let sequences = 0;
      for (const { shared, branches } of trees) {
        for (const { ids } of branches) {
          longest = Math.max(longest, [...shared, ...ids].length);
          sequences++;
        }
      }
      padded += longest * sequences;
    }
    expect(packing).toMatchObject({ steps: 32, rows: 512, cut: 0, tokensPerStep: tokens / 32 });
    expect(packing).toMatchObject({ packsPerStep: fed.flat().length / 32, paddedTokensPerStep: padded / 32 });
    expect(packing.saved).toBeCloseTo(1 - tokens / padded, 12);
    expect(packing.saved).toBeGreaterThan(0.3);
  });

  test("is the same a second time, but for time and memory", async () => {
    const options = { batchSize: 4, trainRows: 40 };
    const [{ cost: _, ...first }, { cost: __, ...second }] = [await examined(options), await examined(options)];
    expect(second).toEqual(first);
  });

  test("warns of an ε that is too small or too large, and says which is not", async () => {
    for (const [epsilon, word] of [
      [1e-9, "too small"],
      [10, "too large"],
    ] as const) {
      const report = await examined({ batchSize: 4, probe: false, optimizer: mezo({ epsilon }) });
      expect(checksOf(report)).toEqual(["noise"]);
      expect(report.warnings[0]?.message).toContain(word);
      expect(report.warnings[0]?.advice).toBe("--epsilon 0.01");
      // What follows is measured with the ε that was found, or it would say nothing.
      expect(report.rates.projectedGradient).toBeGreaterThan(0.5);
      expect(report.rates.projectedGradient).toBeLessThan(50);
      expect(report.rates.rates).toEqual([]);
    }
  });

  test("warns of a rate that blows up, that will in the long run, or that is too slow", async () => {
    const messages = async (learningRate: number, options: Partial<DoctorOptions> = {}) => {
      const { warnings, rates } = await examined({ batchSize: 8, optimizer: mezo({ learningRate }), ...options });
      const [warning] = warnings.filter(({ check }) => check === "learning rate");
      expect(warning?.advice).toBe(
        `--learning-rate ${rates.suggested! < 1e-3 ? rates.suggested!.toExponential() : rates.suggested}`,
      );
      return warning?.message;
    };
    expect(await messages(1e3)).toBe("1000 diverges");
    expect(await messages(3e-3, { probe: false, steps: 3000 })).toMatch(
      /^0\.003 may diverge: .* radius of 0\.\d+, .* up to 0\.0\d+$/,
    );
    expect(await messages(1e-8, { probe: false })).toBe("1e-8 is slow");
  });

  test("counts the weights that a step moves, in fp32 and in the types that merge writes", async () => {
    const learningRate = 3e-9;
    const options = { method: full(), optimizer: mezo({ learningRate }), batchSize: 4, devRows: 0 };
    const { moved, warnings } = await examined({ ...options, probe: false });
    expect(warnings.map(({ check }) => check)).toContain("learning rate");

    const { stepper, engine, batch: _ } = await opened(options);
    const bits = async () => {
      const found: Int32Array[] = [];
      for (const { name } of await engine.held()) {
        const values = await valuesOf(engine, name);
        found.push(new Int32Array(values.buffer).subarray(0, 2 ** 14));
      }
      return found;
    };
    const before = await bits();
    const batch = packs(treesOf(0, 4));
    const { runOf } = await import("../../src/engine/feeds.js");
    const { lossOf } = await import("../../src/objective/objective.js");
    const losses = lossesOf(engine, {
      runs: batch.map((pack) => runOf(model.family, pack)),
      loss: (outputs) => lossOf(classification, batch, outputs),
    });
    await takeStep(stepper, 0, learningRate, driving(engine, losses));
    const after = await bits();
    /** Half to even, as the bits of an fp32 number. */
    const bfloat = (value: number) => (value + 0x7fff + ((value >>> 16) & 1)) >>> 16;
    const fraction = (of: (value: number) => number) => {
      const differ = before.map((values, i) => values.filter((value, j) => of(value) !== of(after[i]![j]!)).length);
      const sum = (list: readonly number[]) => list.reduce((a, b) => a + b, 0);
      return sum(differ) / sum(before.map(({ length }) => length));
    };
    expect(moved?.step.float32).toBeCloseTo(
      fraction((value) => value),
      6,
    );
    expect(moved?.step.bfloat16).toBeCloseTo(fraction(bfloat), 6);
    expect(moved!.step.float32).toBeLessThan(1);
    expect(moved!.step.float16).toBeLessThan(moved!.step.float32);
    expect(moved!.step.bfloat16).toBeLessThan(moved!.step.float16);
    // A thousand steps move what one does not.
    expect(moved!.run.bfloat16).toBeGreaterThan(10 * moved!.step.bfloat16);
  });

  test("with a rate of 0 says that nothing moves", async () => {
    const report = await examined({ batchSize: 4, probe: false, optimizer: mezo({ learningRate: 0 }) });
    expect(report.moved?.step).toEqual({ float32: 0, bfloat16: 0, float16: 0 });
    expect(checksOf(report)).toEqual(["learning rate", "rounding"]);
  });

  test("is of one group of blocks where only they are trained", async () => {
    const { warnings, cost } = await examined({ method: lora({ layers: [4, 5] }), batchSize: 4, probe: false });
    expect(warnings).toEqual([]);
    expect(cost.trainableParameters).toBe(2 * 8 * (192 + 192 + 192 + 64));
  });

  test("refuses options as finetune does", async () => {
    await expect(examined({ optimizer: mezo({ epsilon: 0 }) })).rejects.toMatchObject({ kind: "usage" });
    await expect(examined({ devRows: 600 })).rejects.toThrow("--dev-rows");
  });
});
