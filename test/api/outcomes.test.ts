import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { full, hizoo, lora, mezo } from "../../src/api/choices.js";
import { evaluate } from "../../src/api/evaluate.js";
import { finetune } from "../../src/api/finetune.js";
import { load, type Model } from "../../src/api/load.js";
import { replay } from "../../src/api/replay.js";
import type { FinetuneOptions, FinetuneResult, Run, TrainEvent } from "../../src/api/types.js";
import { splitRows } from "../../src/data/split.js";
import type { Engine } from "../../src/engine/engine.js";
import { ZerothError } from "../../src/errors.js";
import { twoSided } from "../../src/estimator/two-sided.js";
import { readTensorSync } from "../../src/model/weights.js";
import { mezo as mezoOptimizer } from "../../src/optimizer/mezo.js";
import { readAdapter } from "../../src/peft/adapter.js";
import { readJournal, type StepRecord } from "../../src/train/journal.js";
import { bestOf, type Evaluation, type LoopPlan, loop } from "../../src/train/loop.js";
import { runPaths } from "../../src/train/run-folder.js";
import { asset, scratch, task } from "../seedling.js";

/* How a run ends, and what is then in its folder: runs of the model that ships with Zeroth, and the loop on losses given to it. */

const { place, fresh } = scratch("outcomes");

let model: Model;
beforeAll(async () => {
  model = await load(asset("seedling"));
});

const small = { ...task, threads: 1, batchSize: 4, trainRows: 40, devRows: 12, method: lora({ rank: 2 }) } as const;

interface Driven {
  readonly events: readonly TrainEvent[];
  readonly result: FinetuneResult;
}
const drive = async (run: Run, on: (event: TrainEvent) => void = () => {}): Promise<Driven> => {
  const events: TrainEvent[] = [];
  for await (const event of run) {
    events.push(event);
    on(event);
  }
  return { events, result: await run.result };
};
/** A run that fails; it fails alike by its iteration and by its result. */
const failure = async (run: Run): Promise<{ events: TrainEvent[]; error: ZerothError }> => {
  const events: TrainEvent[] = [];
  try {
    for await (const event of run) events.push(event);
  } catch (error) {
    expect(error).toBeInstanceOf(ZerothError);
    await expect(run.result).rejects.toBe(error);
    return { events, error: error as ZerothError };
  }
  return expect.fail("the run did not fail");
};
const files = { lora: "adapter_model.safetensors", full: "model.safetensors" } as const;
const weights = (out: string, kind: keyof typeof files = "lora"): string =>
  readFileSync(join(out, files[kind])).toString("latin1");
const replayed = async (run: string, step?: number, of = model, kind: keyof typeof files = "lora") => {
  const out = fresh();
  const { step: reached } = await replay(of, { run, out, step, threads: 1 });
  return { reached, weights: weights(out, kind) };
};
const ofType = <T extends TrainEvent["type"]>(events: readonly TrainEvent[], type: T) =>
  events.filter((event): event is Extract<TrainEvent, { type: T }> => event.type === type);

interface Given {
  readonly losses?: readonly number[];
  readonly values?: readonly number[];
  readonly metric?: "accuracy" | "loss";
  readonly plan?: Partial<LoopPlan>;
}
/** Runs the loop on losses and evaluations that are given, one after the other (the last one again and again). */
const follow = async ({ losses = [1], values = [0], metric = "accuracy", plan = {} }: Given) => {
  const records: StepRecord[] = [];
  const kept: [number, boolean][] = [];
  const checkpoints: number[] = [];
  let evaluated = 0;
  let lossesGiven = 0;
  let updates = 0;
  const next = (list: readonly number[], at: number): number => list[Math.min(at, list.length - 1)]!;
  const engine = {
    evaluate: async ({ points }: { points: readonly unknown[] }) => points.map(() => []),
    update: async () => {
      updates++;
    },
  } as unknown as Engine;
  const steps = loop(engine, {
    stepper: {
      estimator: twoSided,
      optimizer: mezoOptimizer.configure({}),
      seed: 0n,
      epsilon: 0.25,
      queries: 1,
      blocks: 1,
      steps: 12,
      batchSize: 1,
      trainRows: 1,
      refreshEvery: 0,
    },
    schedule: { kind: "constant", learningRate: 0.5, warmup: 0, steps: 12 },
    from: 0,
    evaluations: [],
    evalEvery: 1,
    patience: 0,
    signal: undefined,
    batch: () => ({ runs: [], loss: () => next(losses, lossesGiven++) }),
    anchor: () => expect.fail("no anchor is asked for"),
    memory: undefined,
    evaluate: async () => ({ metric, value: next(values, evaluated++) }),
    record: (record) => records.push(record),
    keep: async ({ step }, best) => {
      kept.push([step, best]);
    },
    checkpoint: async (done) => {
      checkpoints.push(done);
    },
    ...plan,
  });
  const end = async () => {
    for (;;) {
      const result = await steps.next();
      if (result.done) return result.value;
    }
  };
  const outcome = await end().catch((error: unknown) => error);
  return { outcome, records, kept, checkpoints, updates };
};
const followLosses = (losses: readonly number[], plan: Partial<LoopPlan>) => follow({ losses, plan });

describe("rows", () => {
  /** What a run says before it does anything. */
  const startOf = async (options: Partial<FinetuneOptions>) => {
    for await (const event of finetune(model, { ...task, threads: 1, out: fresh(), ...options })) {
      if (event.type === "start") return event;
    }
    return expect.fail("no start");
  };

  test("the start says how the file's 600 rows are split, and how much is trained", async () => {
    const counts = async (options: Partial<FinetuneOptions>) => {
      const { trainRows, devRows } = await startOf(options);
      return [trainRows, devRows];
    };
    expect(await counts({})).toEqual([540, 60]);
    expect(await counts({ trainRows: 40, devRows: 12 })).toEqual([40, 12]);
    expect(await counts({ trainRows: 40 })).toEqual([40, 60]);
    expect(await counts({ trainRows: 5000, devRows: 30 })).toEqual([570, 30]);
    expect(await counts({ devRows: 0 })).toEqual([600, 0]);
    const parameters = model.parameters;
    // q: 192 → 192, v: 192 → 64, six layers of each.
    const trainableParameters = 6 * 2 * (192 + 192 + 192 + 64);
    expect(await startOf({ method: lora({ rank: 2 }), steps: 7 })).toMatchObject({
      steps: 7,
      resumedAt: 0,
      parameters,
      trainableParameters,
    });
    expect(await startOf({ method: full() })).toMatchObject({ parameters, trainableParameters: parameters });
  });

  test("no row to train on, and options out of range, are refused before the folder is touched", async () => {
    const out = fresh();
    expect((await failure(finetune(model, { ...small, devRows: 600, out }))).error.message).toContain("--dev-rows");
    for (const [options, name] of [
      [{ steps: 0 }, "--steps"],
      [{ batchSize: 1.5 }, "--batch-size"],
      [{ optimizer: mezo({ epsilon: 0 }) }, "--epsilon"],
      [{ optimizer: mezo({ learningRate: Number.NaN }) }, "--learning-rate"],
    ] as const) {
      const folder = fresh();
      const { error } = await failure(finetune(model, { ...small, ...options, out: folder }));
      expect(error).toMatchObject({ kind: "usage", message: expect.stringContaining(name) });
      expect(existsSync(folder)).toBe(false);
    }
    const { error } = await failure(
      finetune(model, { ...small, optimizer: hizoo({ hyperparameters: { smoothing: 2 } }), out }),
    );
    expect(error).toMatchObject({ kind: "usage", message: expect.stringContaining("smoothing") });
    for (const options of [
      { optimizer: hizoo({ hyperparameters: { smoothing: 2 } }) },
      { optimizer: hizoo({ perturbation: "rademacher" }) },
      { optimizer: mezo({ learningRate: 1e39 }) },
      { method: lora({ rank: 1e9 }) },
      { method: lora({ targets: ["c_attn"] }) },
    ] as const) {
      const folder = fresh();
      const { error: early } = await failure(finetune(model, { ...small, ...options, out: folder }));
      expect(early.kind).toBe("usage");
      expect(existsSync(folder)).toBe(false);
    }
    // Whatever was refused, the folder is free for a run.
    expect(readdirSync(join(out, "run"))).toEqual([]);
  });
});

describe("a run", () => {
  const settings: FinetuneOptions = {
    ...small,
    steps: 6,
    seed: 3,
    schedule: "linear",
    warmup: 2,
    evalEvery: 4,
    optimizer: mezo({ learningRate: 2e-2, queries: 2 }),
  };
  const out = fresh();
  let calm: Driven;
  beforeAll(async () => {
    const run = finetune(model, { ...settings, out });
    calm = await drive(run);
    await run.save(join(place, "saved"));
  });

  test("tells start, steps with the schedule's rates, evaluations, and the end, in order", () => {
    const { events, result } = calm;
    expect(events.map((event) => ("step" in event ? `${event.type} ${event.step}` : event.type))).toEqual([
      "start",
      ...[1, 2, 3, 4].map((step) => `step ${step}`),
      "evaluation 4",
      "step 5",
      "step 6",
      "evaluation 6",
      "done",
    ]);
    const steps = ofType(events, "step");
    expect(steps.map(({ learningRate }) => learningRate)).toEqual(
      [0.5, 1, 1, 0.75, 0.5, 0.25].map((part) => Math.fround(2e-2 * part)),
    );
    for (const { loss, projectedGradient } of steps) {
      expect(loss).toBeGreaterThan(0);
      expect(Math.abs(projectedGradient)).toBeGreaterThan(0);
    }
    expect(result).toMatchObject({ steps: 6, outcome: "finished", out });
    expect(result.loss).toBeCloseTo(steps.reduce((sum, { loss }) => sum + loss, 0) / 6, 12);
    expect(ofType(events, "done")[0]!.result).toBe(result);
  });

  test("an evaluation is the accuracy on the dev rows, told, journaled and written to the metrics alike", async () => {
    const evaluations = ofType(calm.events, "evaluation");
    const plain = evaluations.map(({ step, metric, value }) => ({ step, metric, value }));
    const best = bestOf(plain)!;
    expect(evaluations.map((event) => event.best)).toEqual([true, best.step === 6]);
    expect(calm.result.keptStep).toBe(best.step);

    const journal = readJournal(runPaths(out).journal);
    expect(journal.notes.filter(({ note }) => note === "evaluation")).toEqual(
      evaluations.map(({ type, ...rest }) => ({ note: type, ...rest })),
    );
    const lines = readFileSync(runPaths(out).metrics, "utf8")
      .trim()
      .split("\n")
      .map((line): Record<string, unknown> => JSON.parse(line));
    expect(lines.filter((line) => "dev/accuracy" in line)).toEqual(
      evaluations.map(({ step, value, best }) => ({ step, "dev/accuracy": value, best })),
    );
    expect(lines).toHaveLength(8);

    // The same rows, chosen here from the file, by the adapter that was kept.
    const rows = readFileSync(join(task.data, "train.jsonl"), "utf8").trim().split("\n");
    const dev = splitRows(rows.length, { trainRows: 40, devRows: 12, seed: 0n }).dev;
    const data = join(place, "dev.jsonl");
    writeFileSync(data, dev.map((index) => rows[index]).join("\n"));
    const measured = await evaluate(model, { ...task, data, adapter: out, threads: 1 });
    expect(measured).toMatchObject({ total: 12, value: best.value });
  });

  test("saves the adapter and nothing of how it was made", () => {
    expect(readdirSync(join(place, "saved")).sort()).toEqual(["adapter_config.json", files.lora]);
    expect(weights(join(place, "saved"))).toBe(weights(out));
  });

  test("with the same seed writes the same bytes; another seed, of the noise or of the data, does not", async () => {
    const twin = fresh();
    await drive(finetune(model, { ...settings, out: twin }));
    expect(weights(twin)).toBe(weights(out));
    const records = (folder: string) => [...readJournal(runPaths(folder).journal).steps];
    expect(records(twin)).toEqual(records(out));
    for (const seeds of [{ seed: 4 }, { dataSeed: 1 }]) {
      const other = fresh();
      await drive(finetune(model, { ...settings, ...seeds, out: other }));
      expect(weights(other)).not.toBe(weights(out));
    }
  });

  test("aborted, stops after the step it is in and saves it; resumed, it ends as if undisturbed", async () => {
    const stopped = fresh();
    const controller = new AbortController();
    const { events, result } = await drive(
      finetune(model, { ...settings, out: stopped, signal: controller.signal }),
      (event) => {
        if (event.type === "step" && event.step === 3) controller.abort();
      },
    );
    expect(events.map(({ type }) => type)).toEqual(["start", "step", "step", "step", "done"]);
    expect(result).toMatchObject({ steps: 3, keptStep: 3, outcome: "interrupted" });
    const third = await replayed(out, 3);
    expect(weights(stopped)).toBe(third.weights);
    expect(third.weights).not.toBe((await replayed(out, 2)).weights);
    expect(readJournal(runPaths(stopped).journal).finished).toBeUndefined();

    const resumed = await drive(finetune(model, { ...settings, out: stopped, resume: true }));
    expect(ofType(resumed.events, "start")[0]).toMatchObject({ resumedAt: 3 });
    expect(ofType(resumed.events, "step").map(({ step }) => step)).toEqual([4, 5, 6]);
    expect(ofType(resumed.events, "evaluation")).toEqual(ofType(calm.events, "evaluation"));
    expect(resumed.result).toMatchObject({ steps: 6, keptStep: calm.result.keptStep, outcome: "finished" });
    expect(weights(stopped)).toBe(weights(out));
  });

  test("aborted before it starts, takes no step and saves the adapter as it starts", async () => {
    const stopped = fresh();
    const { result } = await drive(finetune(model, { ...settings, out: stopped, signal: AbortSignal.abort() }));
    expect(result).toMatchObject({ steps: 0, keptStep: 0, outcome: "interrupted" });
    expect(weights(stopped)).toBe((await replayed(out, 0)).weights);
  });

  test("that had finished is left as it is", async () => {
    const { events, result } = await drive(finetune(model, { ...settings, out, resume: true }));
    expect(events).toEqual([{ type: "done", result }]);
    expect(result).toEqual({ ...calm.result, outcome: "already finished" });
    const { error } = await failure(finetune(model, { ...settings, out }));
    expect(error.message).toContain("--resume");
  });

  test("left by its consumer closes what it opened, says so, and can be gone on with", async () => {
    const left = fresh();
    const run = finetune(model, { ...settings, out: left });
    for await (const event of run) if (event.type === "step" && event.step === 3) break;
    await expect(run.result).rejects.toThrow(/left before its end[\s\S]*resume: true/);
    await expect(run.save(fresh())).rejects.toThrow(ZerothError);
    // The lock is gone with it.
    const { result } = await drive(finetune(model, { ...settings, out: left, resume: true }));
    expect(result).toMatchObject({ steps: 6, outcome: "finished" });
    expect(weights(left)).toBe(weights(out));
  });
});

describe("early stopping", () => {
  /** Steps too small to change an answer: every evaluation ties, so the first is the best and every later one is not. */
  test.each([
    ["lora", lora({ rank: 2 }), 2, 6],
    ["full", full(), 1, 4],
  ] as const)(
    "%s: stops by patience and keeps the weights that were best, bit for bit the replay's",
    async (kind, method, patience, steps) => {
      const out = fresh();
      const optimizer = mezo({ learningRate: 1e-7, epsilon: 1e-4 });
      const run = finetune(model, { ...small, method, optimizer, steps: 50, evalEvery: 2, patience, out });
      const { events, result } = await drive(run);
      const evaluations = ofType(events, "evaluation");
      expect(evaluations.map(({ step, best }) => [step, best])).toEqual(
        Array.from({ length: steps / 2 }, (_, i) => [2 * i + 2, i === 0]),
      );
      expect(new Set(evaluations.map(({ value }) => value)).size).toBe(1);
      expect(result).toMatchObject({ steps, keptStep: 2, outcome: "stopped early" });
      expect(readJournal(runPaths(out).journal)).toMatchObject({
        stepCount: steps,
        finished: { step: steps, keptStep: 2, outcome: "stopped early" },
      });
      const [kept, second, last] = [
        await replayed(out, undefined, model, kind),
        await replayed(out, 2, model, kind),
        await replayed(out, steps, model, kind),
      ];
      expect([kept.reached, kept.weights === second.weights]).toEqual([2, true]);
      expect(weights(out, kind) === second.weights).toBe(true);
      expect(weights(out, kind) === last.weights).toBe(false);
    },
  );
});

describe("a loss that is not finite", () => {
  const advice = (error: ZerothError, step: number, epsilon: number) => {
    expect(error.message).toMatch(
      new RegExp(`^Step ${step} was refused: its loss is not finite \\(losses NaN, NaN\\)`),
    );
    expect(error.message).toMatch(/The weights of the step before are saved/);
    expect(error.message).toMatch(/smaller --learning-rate \(now \S+; try a tenth of it\)/);
    expect(error.message).toContain(`another --epsilon (now ${epsilon})`);
    expect(error.message.split("\n").length).toBeLessThanOrEqual(4);
  };

  test.each([
    ["lora", lora({ rank: 2 })],
    ["full", full()],
  ] as const)(
    "%s: of poisoned weights: the first step is refused, journaled so, and the start saved",
    async (kind, method) => {
      const folder = fresh();
      cpSync(asset("seedling"), folder, { recursive: true });
      const file = join(folder, "model.safetensors");
      const bytes = readFileSync(file);
      const start = 8 + Number(bytes.readBigUInt64LE(0));
      const header: Record<string, { data_offsets: [number, number] }> = JSON.parse(bytes.toString("utf8", 8, start));
      // One element of the last norm, in bfloat16.
      bytes.writeUInt16LE(0x7fc0, start + header["model.norm.weight"]!.data_offsets[0]);
      writeFileSync(file, bytes);
      const poisoned = await load(folder);

      const out = fresh();
      const optimizer = mezo({ epsilon: 2 ** -8 });
      const { events, error } = await failure(finetune(poisoned, { ...small, method, optimizer, steps: 5, out }));
      expect(events.map(({ type }) => type)).toEqual(["start", "note"]);
      expect(events[1]).toMatchObject({ message: expect.stringContaining("NaN before any step") });
      advice(error, 1, 2 ** -8);
      const journal = readJournal(runPaths(out).journal);
      expect([...journal.steps].map(({ refused, losses }) => [refused, [...losses]])).toEqual([
        [true, [Number.NaN, Number.NaN]],
      ]);
      expect(journal.notes).toEqual([{ note: "refused", step: 0, reason: expect.stringContaining("not finite") }]);
      expect(journal.finished).toBeUndefined();
      expect(readFileSync(runPaths(out).metrics, "utf8")).toBe("");
      // A refused step repeats as none, or in place as its walks alone, which round.
      const repeated = await replayed(out, undefined, poisoned, kind);
      expect([repeated.reached, repeated.weights === weights(out, kind)]).toEqual([1, true]);
      const saved = kind === "lora" ? readAdapter(out, model).tensors : (await load(out)).files.weights;
      for (const [name, source] of saved) {
        if (name.endsWith("lora_A.weight")) continue;
        const [found, base] = [readTensorSync(source), poisoned.files.weights.get(name)];
        const expected = base === undefined ? new Float32Array(found.length) : readTensorSync(base);
        // The poisoned element is NaN here and there; any other NaN fails.
        const off = expected.reduce(
          (worst, value, i) => (Number.isNaN(value) ? worst : Math.max(worst, Math.abs(value - found[i]!))),
          0,
        );
        expect(off, name).toBeLessThan(1e-6);
      }
    },
  );

  test("and the noise floor is measured before the first step, told where it drowns ε, and leaves no trace", async () => {
    const run = (epsilon: number, noiseCheck?: boolean) => {
      const out = fresh();
      return drive(
        finetune(model, { ...small, method: full(), optimizer: mezo({ epsilon }), steps: 2, out, noiseCheck }),
      ).then(({ events }) => ({
        notes: ofType(events, "note").map(({ message }) => message),
        weights: weights(out, "full"),
      }));
    };
    const [checked, unchecked] = [await run(1e-3), await run(1e-3, false)];
    expect(checked.notes).toEqual([]);
    expect(checked.weights).toBe(unchecked.weights);
    expect((await run(1e-8)).notes).toEqual([expect.stringMatching(/^Noise: .*too small.*--epsilon 0\.\d+\)\.$/)]);
    expect((await run(1e-8, false)).notes).toEqual([]);
  });

  test("of an absurd learning rate: the weights of the last good step are saved", async () => {
    const out = fresh();
    const optimizer = mezo({ learningRate: 1e25 });
    const { events, error } = await failure(finetune(model, { ...small, optimizer, steps: 5, out }));
    expect(events.map(({ type }) => type)).toEqual(["start", "step"]);
    advice(error, 2, 1e-2);
    const journal = readJournal(runPaths(out).journal);
    expect([...journal.steps].map(({ refused }) => refused)).toEqual([false, true]);
    expect(journal.notes.map(({ note }) => note)).toEqual(["refused"]);
    const [before, after] = [await replayed(out, 0), await replayed(out, 1)];
    expect([weights(out) === after.weights, weights(out) === before.weights]).toEqual([true, false]);
    expect(existsSync(runPaths(out).chart)).toBe(true);
  });

  test("the message names the rate that was given, and what was not finite", async () => {
    const { outcome } = await followLosses([1, Number.NaN], {
      schedule: { kind: "linear", learningRate: 1e-3, warmup: 4, steps: 12 },
    });
    expect(String(outcome)).toMatch(/its loss is not finite \(losses 1\.000, NaN\)[\s\S]*\(now 0\.001; /);
    // A difference of losses over 2ε that fp32 cannot hold.
    const wide = await followLosses([3e38, -3e38], {});
    expect(String(wide.outcome)).toContain("its update is not finite (losses 3.000e+38, -3.000e+38)");
    expect(wide.updates).toBe(0);
  });
});

describe("the loop", () => {
  const bestSteps = (kept: readonly (readonly [number, boolean])[]) =>
    kept.filter(([, best]) => best).map(([step]) => step);

  test("counts patience from the best evaluation, the earliest of equals", async () => {
    const values = [0.5, 0.7, 0.7, 0.6, 0.8, 0.1, 0.8, 0.2, 0.9];
    const { outcome, kept } = await follow({ values, plan: { patience: 3 } });
    expect(outcome).toBe("stopped early");
    expect(bestSteps(kept)).toEqual([1, 2, 5]);
    expect(kept.at(-1)).toEqual([8, false]);
    const patient = await follow({ values, plan: { patience: 4 } });
    expect([patient.outcome, bestSteps(patient.kept)]).toEqual(["finished", [1, 2, 5, 9]]);
    expect((await follow({ values: [1, 0] })).outcome).toBe("finished");
  });

  test("takes the lowest loss and the highest accuracy for the best", async () => {
    const values = [0.5, 0.7, 0.3, 0.3, 0.2];
    const plan = { schedule: { kind: "constant", learningRate: 1, warmup: 0, steps: 5 } } as const;
    expect(bestSteps((await follow({ values, metric: "loss", plan })).kept)).toEqual([1, 3, 5]);
    expect(bestSteps((await follow({ values, metric: "accuracy", plan })).kept)).toEqual([1, 2]);
    const at = (step: number, metric: "accuracy" | "loss", value: number): Evaluation => ({ step, metric, value });
    expect(bestOf([])).toBeUndefined();
    expect(bestOf([at(1, "loss", 3), at(2, "loss", 2), at(3, "loss", 2)])?.step).toBe(2);
    expect(bestOf([at(1, "accuracy", 3), at(2, "accuracy", 4), at(3, "accuracy", 4)])?.step).toBe(2);
  });

  test("takes an evaluation that is NaN for the worst", async () => {
    for (const metric of ["loss", "accuracy"] as const) {
      const at = (step: number, value: number): Evaluation => ({ step, metric, value });
      expect(bestOf([at(1, Number.NaN), at(2, 0.5), at(3, Number.NaN)])?.step).toBe(2);
      expect(bestOf([at(1, Number.NaN), at(2, Number.NaN)])?.step).toBe(1);
    }
  });

  test("evaluates when it is due and after the last step, and once what a killed run still owes", async () => {
    const steps = async (plan: Partial<LoopPlan>) => (await follow({ plan })).kept.map(([step]) => step);
    expect(await steps({ evalEvery: 5 })).toEqual([5, 10, 12]);
    expect(await steps({ evalEvery: 6 })).toEqual([6, 12]);
    expect(await steps({ evalEvery: 50 })).toEqual([12]);
    expect(await steps({ evalEvery: 0 })).toEqual([]);
    const known: Evaluation[] = [{ step: 5, metric: "accuracy", value: 0.5 }];
    expect(await steps({ evalEvery: 5, from: 10, evaluations: known })).toEqual([10, 12]);
    expect(await steps({ evalEvery: 5, from: 5, evaluations: known })).toEqual([10, 12]);
    expect(await steps({ evalEvery: 5, from: 12, evaluations: known })).toEqual([12]);
  });

  test.each([
    ["NaN", Number.NaN],
    ["infinite", Number.POSITIVE_INFINITY],
    ["negative and infinite", Number.NEGATIVE_INFINITY],
  ])("refuses a step with one loss that is %s: recorded, not updated, and nothing after it", async (_, bad) => {
    for (const place of [4, 5]) {
      const losses = [1, 0.9, 0.8, 0.9, 1, 1].with(place, bad);
      const { outcome, records, kept, checkpoints, updates } = await follow({ losses });
      expect(outcome).toBeInstanceOf(ZerothError);
      expect((outcome as ZerothError).message).toMatch(/^Step 3 was refused.*now 0\.5;.*now 0\.25/s);
      expect(records.map(({ step, refused }) => [step, refused])).toEqual([
        [0, false],
        [1, false],
        [2, true],
      ]);
      expect([...records[2]!.losses]).toEqual(losses.slice(4));
      expect([updates, kept.length, checkpoints]).toEqual([2, 2, [1, 2]]);
    }
  });

  test("refuses a step whose losses are finite and whose estimate is not", async () => {
    const { outcome, records, updates } = await follow({ losses: [3e38, -3e38] });
    expect(outcome).toBeInstanceOf(ZerothError);
    expect([records.map(({ refused }) => refused), updates]).toEqual([[true], 0]);
  });

  test("an abort is seen before the next step, not after the last", async () => {
    const controller = new AbortController();
    const stopped = await follow({
      plan: {
        signal: controller.signal,
        checkpoint: async (done) => {
          if (done === 4) controller.abort();
        },
      },
    });
    expect([stopped.outcome, stopped.records.length]).toEqual(["interrupted", 4]);
    expect(stopped.kept.at(-1)).toEqual([4, false]);
    const late = new AbortController();
    const plan: Partial<LoopPlan> = {
      signal: late.signal,
      checkpoint: async (done) => {
        if (done === 12) late.abort();
      },
    };
    expect((await follow({ plan })).outcome).toBe("finished");
  });
});
