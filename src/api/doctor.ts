import { totalmem } from "node:os";
import { performance } from "node:perf_hooks";
import { packs } from "../batch/pack.js";
import { chooseTask } from "../data/choose.js";
import { dataFile, readRows } from "../data/rows.js";
import { batchOrder } from "../data/split.js";
import type { TokenTree } from "../data/tree.js";
import type { Engine } from "../engine/engine.js";
import { runOf } from "../engine/feeds.js";
import { elementsIn } from "../model/weights.js";
import { lossOf } from "../objective/objective.js";
import type { Method } from "../peft/method.js";
import type { Batch } from "../train/loop.js";
import { driving, type Stepper, takeStep } from "../train/step.js";
import { movedWeights } from "./doctor/moved.js";
import { batchOf, checkNoise, lossesOf, reachOf, smallBatch, THOROUGH } from "./doctor/noise.js";
import { packingOf } from "./doctor/packing.js";
import { PROBE_STEPS, probeRates, slopesOf, suggestedRate, walkOf } from "./doctor/rates.js";
import { median, rms } from "./doctor/statistics.js";
import { warningsOf } from "./doctor/warnings.js";
import { fitted, openEngine, threadsOf } from "./engines.js";
import { measure } from "./evaluate.js";
import { type AskedObjective, examplesOf, objectiveOf, trainingTrees, wantedOf } from "./examples.js";
import type { Model } from "./load.js";
import { rowPacks } from "./prefetch.js";
import { methodOf, trainerOf } from "./prepare.js";
import { withFittedRate } from "./rate.js";
import { resolveSettings, type Settings, said, tuningOf } from "./settings.js";
import { splitOf } from "./split.js";
import { type Start, withStart } from "./start.js";
import type { CostReport, DoctorOptions, DoctorReport, RatesReport } from "./types.js";

/** Steps taken to see their slopes and their time; the first is not timed. */
const STEPS = 8;
/** Rows whose packing is looked at, dev rows whose evaluation is timed. */
const PACKED_ROWS = 512;
const TIMED_DEV_ROWS = 16;
/** Of the learning-rate probe, and rates that it usually tries. */
const PROBE_SECONDS = 60;
const USUAL_RATES = 4;

const planOf = async (model: Model, options: DoctorOptions, settings: Settings) => {
  const task = chooseTask(options);
  const rows = await readRows(await dataFile(options.data, "train"));
  const split = splitOf(model, task, rows, settings);
  const rowsAt = (indices: readonly number[]) => indices.flatMap((index) => rows[index] ?? []);
  const treeAt = trainingTrees(model, task, rowsAt(split.train));
  const order = batchOrder(split.train.length, settings.batchSize, BigInt(settings.seed));
  return {
    task,
    objective: objectiveOf(model, task, wantedOf(options, settings)),
    trainRows: split.train.length,
    devRows: split.dev.length,
    dev: examplesOf(model, task, rowsAt(split.dev.slice(0, TIMED_DEV_ROWS))).trees,
    rowsOf: order,
    treesOf: (step: number): readonly TokenTree[] => order(step).map(treeAt),
  };
};

/** A step's batch as training makes it: rows are named where the blocks before the trained ones run once a row. */
const numberedBatch = (
  model: Model,
  objective: AskedObjective,
  trees: readonly TokenTree[],
  rows: readonly number[],
) => {
  const made = packs(trees, { head: objective.head });
  const runs = rowPacks(made, rows).map((one) => runOf(model.family, one.pack, one.rows));
  return { runs, loss: (outputs: readonly Float32Array[]) => lossOf(objective, made, outputs) };
};

const seconds = async (work: () => Promise<unknown>): Promise<number> => {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
};

interface Taken {
  /** Seconds a step, and to prepare its rows the first time. */
  readonly step: number;
  readonly preparation: number;
  readonly projectedGradient: number;
}

/** Takes the run's first steps, with their walks and their updates, at a learning rate of 0. */
const takeSteps = async (
  engine: Engine,
  stepper: Stepper,
  method: Method,
  batchAt: (step: number) => Batch,
  onStep: (done: number, total: number) => void,
): Promise<Taken> => {
  const times: number[] = [];
  const preparations: number[] = [];
  const slopes: number[] = [];
  let memory = stepper.estimator.initial;
  // What an anchor would be looked at on is as well looked at on the step's own rows.
  const losses = (batch: Batch) => lossesOf(engine, batch);
  for (let step = 0; step < STEPS; step++) {
    onStep(step, STEPS);
    const batch = batchAt(step);
    const preparation = method.firstLayer === 0 ? 0 : await seconds(() => engine.prefetch(batch.runs));
    const time = await seconds(async () => {
      const taken = await takeStep(stepper, step, 0, driving(engine, losses(batch)), memory);
      memory = taken.memory;
      slopes.push(...slopesOf(stepper, taken).filter(Number.isFinite));
    });
    if (step > 0) {
      times.push(time);
      preparations.push(preparation);
    }
  }
  return {
    step: median(times),
    preparation: median(preparations),
    projectedGradient: slopes.length === 0 ? 0 : rms(slopes),
  };
};

/**
 * Looks at a model and data before a run: whether the loss is precise enough for its differences to be a gradient (and at which ε),
 * which learning rates hold, how many weights a step moves, what packing saves, and what the run costs. Takes steps of the run
 * itself, in an engine of its own: no run is written, and the model's files are not touched.
 *
 * Same options, model and machine: same report, but for times, memory, and rows of the learning-rate probe, which are fewer where
 * it would take more than a minute.
 *
 * @throws ZerothError when model, data or options cannot be used, or the loss is not finite before any step
 */
export const doctor = async (base: Model, options: DoctorOptions): Promise<DoctorReport> => {
  const given = said(options);
  const resolved = resolveSettings(given, threadsOf(options.threads));
  const settings = withFittedRate(base, resolved, given.learningRate !== undefined);
  const method = methodOf(base, settings);
  const { threads, device, quantize } = options;
  return withStart(base, method, { threads, device, quantize }, (start) =>
    examined(fitted(base, method), options, settings, method, start),
  );
};

const examined = async (
  model: Model,
  options: DoctorOptions,
  settings: Settings,
  whole: Method,
  start: Start | undefined,
): Promise<DoctorReport> => {
  const { threads, learningRate, steps, batchSize } = settings;
  const { family } = model;
  const plan = await planOf(model, options, settings);
  const trainer = trainerOf(model, settings, plan.trainRows, whole);
  const { method, stepper } = trainer;
  const { objective, treesOf } = plan;
  const tell =
    (check: "steps" | "noise" | "learning rate" | "rounding") =>
    (done: number, total: number): void =>
      options.onProgress?.({ check, done, total });

  const looked = Math.max(1, Math.min(steps, Math.floor(PACKED_ROWS / batchSize)));
  const packing = packingOf(
    objective,
    Array.from({ length: looked }, (_, step) => treesOf(step)),
  );

  const { device, prefixCache } = options;
  tell("steps")(0, STEPS);
  const { runTokens } = settings;
  const quantize = settings.quantize ?? undefined;
  const engine = await openEngine(model, {
    ...{
      method,
      training: trainer,
      adapter: start?.tensors,
      seed: stepper.seed,
      threads,
      device,
      prefixCache,
      quantize,
      runTokens,
    },
  });
  try {
    const batchAt = (step: number): Batch =>
      method.firstLayer === 0 || objective.asks !== undefined
        ? batchOf(family, objective, treesOf(step))
        : numberedBatch(model, objective, treesOf(step), plan.rowsOf(step));
    const time = await takeSteps(engine, stepper, method, batchAt, tell("steps"));
    const evaluate = () => measure(engine, model, plan.dev, plan.task.metric);
    // The first time loads the head that evaluating needs, which may be another than training's.
    if (plan.dev.length > 0) await evaluate();
    const evaluationSeconds = plan.dev.length === 0 ? 0 : ((await seconds(evaluate)) / plan.dev.length) * plan.devRows;
    const evaluations = settings.evalEvery === 0 ? 0 : Math.ceil(steps / settings.evalEvery);
    const prepared = Math.min(steps, Math.ceil(plan.trainRows / batchSize));
    const cost: CostReport = {
      steps,
      secondsPerStep: time.step,
      seconds: steps * time.step + prepared * time.preparation + evaluations * evaluationSeconds,
      rssBytes: process.memoryUsage.rss(),
      expectedPeakRssBytes: process.resourceUsage().maxRSS * 1024,
      trainableParameters: elementsIn(method.tensors),
      parameters: model.parameters,
    };

    await engine.rewind();
    const noise = await checkNoise(engine, {
      epsilon: settings.epsilon,
      usual: tuningOf(settings.optimizer, settings.method).epsilon,
      seed: stepper.seed,
      batch: smallBatch(family, objective, treesOf(0)),
      extent: THOROUGH,
      onProgress: tell("noise"),
    });

    // With an ε that is no good, what steps do would say nothing of the rate.
    const sound: Stepper = { ...stepper, epsilon: noise.recommended ?? settings.epsilon };
    const { projectedGradient } =
      sound.epsilon === stepper.epsilon ? time : await takeSteps(engine, sound, method, batchAt, tell("steps"));
    await engine.rewind();
    const expected = USUAL_RATES * (PROBE_STEPS + 1) * time.step;
    const rows = Math.max(1, Math.floor(batchSize * Math.min(1, PROBE_SECONDS / expected)));
    const batch = batchOf(family, objective, treesOf(0).slice(0, rows));
    const reach = reachOf(noise);
    const began = performance.now();
    const hasTime = (): boolean => performance.now() - began < 1000 * PROBE_SECONDS;
    const probe = { stepper: sound, learningRate, batch, reach, projectedGradient, hasTime };
    const { loss, rates: tried } =
      options.probe === false
        ? { loss: (await lossesOf(engine, batch)([[]]))[0] ?? Number.NaN, rates: [] }
        : await probeRates(engine, {
            ...probe,
            roundingNoise: noise.roundingNoise,
            onProgress: tell("learning rate"),
          });
    const schedule = { kind: settings.schedule, learningRate, warmup: settings.warmup, steps };
    const rates: RatesReport = {
      ...{ learningRate, loss, rows, rates: tried, projectedGradient, reach: reach ?? null },
      walk: walkOf(schedule, projectedGradient),
      suggested: suggestedRate(noise, schedule, projectedGradient, tried),
    };

    tell("rounding")(0, 1);
    const moved = await movedWeights(engine, {
      ...{ model, method, stepper: sound, learningRate, steps },
      batch: batchOf(family, objective, treesOf(0)),
    });

    const report = { noise, rates, moved, packing, cost };
    return { ...report, warnings: warningsOf(report, totalmem()) };
  } finally {
    await engine.close();
  }
};
