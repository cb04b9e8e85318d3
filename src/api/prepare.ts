import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { packs } from "../batch/pack.js";
import { chooseTask } from "../data/choose.js";
import { dataFile, readRows } from "../data/rows.js";
import { batchOrder } from "../data/split.js";
import { valuesOf } from "../engine/engine.js";
import { runOf } from "../engine/feeds.js";
import { ZerothError } from "../errors.js";
import { KERNEL_VERSION } from "../kernels/program.js";
import { fingerprint, hashWeights } from "../model/open.js";
import { elementsIn, readTensorSync } from "../model/weights.js";
import { lossOf } from "../objective/objective.js";
import { saveAdapter } from "../peft/adapter.js";
import { withCores } from "../peft/cores.js";
import type { PeftMethod } from "../peft/define.js";
import { readMask } from "../peft/mask.js";
import type { Method } from "../peft/method.js";
import { methods } from "../peft/methods.js";
import { saveModel } from "../peft/save.js";
import { isLowRank } from "../perturbation/subspace.js";
import { PHILOX_ROUNDS } from "../random/philox.js";
import type { JournalHeader } from "../train/journal.js";
import type { Batch } from "../train/loop.js";
import type { RunPlan } from "../train/run.js";
import { choiceOf } from "./choice.js";
import { checkNoise, smallBatch } from "./doctor/noise.js";
import { noiseWarnings } from "./doctor/warnings.js";
import { fitted, openEngine, threadsOf } from "./engines.js";
import { measure } from "./evaluate.js";
import { examplesOf, objectiveOf, trainingTrees, truncationNote, wantedOf } from "./examples.js";
import type { Model } from "./load.js";
import { prefetcher, type RowPack, rowPacks } from "./prefetch.js";
import { type Settings, tuningOf, written } from "./settings.js";
import { splitOf } from "./split.js";
import type { Start } from "./start.js";
import { type Training, trainingOf } from "./training.js";
import type { FinetuneOptions, TrainEvent } from "./types.js";
import { askedBatch } from "./written.js";

const require = createRequire(import.meta.url);
const versionOf = (name: string): string => (require(name) as { version: string }).version;
/** Of Zeroth and of the runtime, for the journal's header. */
const versions = {
  zeroth: versionOf("../../package.json"),
  runtime: versionOf("onnxruntime-node/package.json"),
} as const;

const definitionOf = (settings: Settings): PeftMethod => methods[settings.method];

/** The trainable set that settings name, on a model: what it is saved as. */
export const methodOf = (model: Model, settings: Settings): Method =>
  definitionOf(settings).bind(model, settings.methodOptions, BigInt(settings.seed));

/** A method as it is trained, and what trains it. */
export interface Trainer extends Training {
  readonly method: Method;
}

/**
 * What trains the set that settings name, on a model.
 * @param whole the set, where it is bound already: that may read all of the weights
 */
export const trainerOf = (
  model: Model,
  settings: Settings,
  trainRows: number,
  whole = methodOf(model, settings),
): Trainer => {
  const { subspace } = choiceOf(settings);
  // A graph that came with its model is not cut between blocks.
  const uncut = "imported" in model.family ? { ...whole, firstLayer: 0 } : whole;
  const method = isLowRank(subspace) ? withCores(uncut, subspace) : uncut;
  const masks = settings.mask === null ? undefined : readMask(settings.mask, method.tensors);
  return { method, ...trainingOf(settings, method, model.family.layers, trainRows, masks) };
};

const hashOf = (value: unknown): string => createHash("sha256").update(JSON.stringify(value)).digest("hex");

/** Tells trainable sets apart: names, shapes, and what they start from where the model computes it. */
export const parametersOf = ({ tensors, stamp }: Method, start: Start | undefined): string =>
  hashOf([
    ...tensors.map(({ name, shape }) => [name, shape]),
    ...[stamp, start?.sha256].filter((one) => one !== undefined),
  ]);

const frozen = async (model: Model, name: string): Promise<Float32Array> => {
  const source = model.files.weights.get(name);
  if (source === undefined) throw new Error(`no tensor ${name}`);
  return readTensorSync(source);
};

/** Saves what settings trained: an adapter folder, or a whole model folder. `method` is the set, where it is bound already. */
export const saverOf = (model: Model, settings: Settings, method = methodOf(model, settings)): RunPlan["save"] => {
  const definition = definitionOf(settings);
  const own = new Map([...method.tensors, ...(method.frozen ?? [])].map(({ name, shape }) => [name, shape]));
  return async (engine, folder) => {
    // What a subspace holds beside the weights goes into them first.
    await engine.fold();
    const read = (name: string) => {
      const shape = own.get(name);
      return shape === undefined ? frozen(model, name) : valuesOf(engine, { name, shape });
    };
    return definition.folder === undefined
      ? saveModel(folder, model.files, model.family.parameters, read)
      : saveAdapter(folder, model, definition, { method, options: settings.methodOptions }, read);
  };
};

/** Training rows made into tokens before the first step, to see whether they fit the context. */
const LOOKED_AT = 512;

/** A run of settings on a model and data, ready to be driven. */
export interface Prepared {
  readonly header: JournalHeader;
  readonly plan: Omit<RunPlan, "folder">;
  readonly start: Extract<TrainEvent, { type: "start" }>;
  readonly notes: readonly string[];
}

/**
 * @param start what the set starts from, where the model computes it
 * @param whole the set, where it is bound already
 */
export const prepare = async (
  base: Model,
  options: FinetuneOptions,
  settings: Settings,
  resumedAt: number,
  start?: Start,
  whole = methodOf(base, settings),
): Promise<Prepared> => {
  const model = fitted(base, whole);
  const task = chooseTask({
    task: settings.task ?? undefined,
    prompt: settings.prompt ?? undefined,
    options: settings.options ?? undefined,
    labels: settings.labels ?? undefined,
    format: settings.format ?? undefined,
  });
  const file = await dataFile(options.data, "train");
  const rows = await readRows(file);
  const split = splitOf(model, task, rows, settings);
  const rowsAt = (indices: readonly number[]) => indices.flatMap((index) => rows[index] ?? []);
  const train = rowsAt(split.train);
  const dev = examplesOf(model, task, rowsAt(split.dev));
  const treeAt = trainingTrees(model, task, train);

  const trainer = trainerOf(model, settings, train.length, whole);
  const { method, stepper } = trainer;
  const objective = objectiveOf(model, task, wantedOf(options, settings));

  const order = batchOrder(train.length, settings.batchSize, BigInt(settings.seed));
  const packed = (rows: readonly number[]): readonly RowPack[] =>
    rowPacks(packs(rows.map(treeAt), { head: objective.head }), rows);
  const packsOf = (step: number) => packed(order(step));
  const runWith = ({ pack, rows }: RowPack) =>
    method.firstLayer === 0 ? runOf(model.family, pack) : runOf(model.family, pack, rows);
  const prefetch = method.firstLayer === 0 ? undefined : prefetcher(train.length, order, packsOf, runWith);
  const batchOf = (batchPacks: readonly RowPack[]): Batch => {
    if (objective.asks !== undefined)
      return askedBatch(
        objective.asks,
        batchPacks.flatMap(({ pack }) => pack.trees),
      );
    return {
      runs: batchPacks.map(runWith),
      loss: (outputs) =>
        lossOf(
          objective,
          batchPacks.map(({ pack }) => pack),
          outputs,
        ),
      prepare: async (engine) => prefetch?.(engine, batchPacks),
    };
  };
  let anchor: Batch | undefined;
  const threads = threadsOf(settings.threads);
  const header: JournalHeader = {
    zeroth: versions.zeroth,
    model: { origin: model.files.origin.spec, fingerprint: fingerprint(model.files) },
    data: createHash("sha256")
      .update(await readFile(file))
      .digest("hex"),
    trainRows: train.length,
    options: written(settings),
    rounds: PHILOX_ROUNDS,
    mode: method.placement,
    parameters: parametersOf(method, start),
    runtime: { name: "onnxruntime-node", version: versions.runtime, threads },
    kernels: KERNEL_VERSION,
  };
  // Of a large file the first rows tell: cutting is a matter of the template and the model, not of single rows.
  const seen = [...dev.trees, ...train.slice(0, LOOKED_AT).map((_, index) => treeAt(index))];
  const notes = [...model.notes, truncationNote(seen)].filter((note) => note !== undefined);
  return {
    header,
    notes,
    start: {
      type: "start",
      steps: settings.steps,
      resumedAt,
      trainRows: train.length,
      devRows: dev.trees.length,
      trainableParameters: elementsIn(method.tensors),
      parameters: model.parameters,
    },
    plan: {
      header,
      openEngine: () =>
        openEngine(model, {
          ...{ method, training: trainer, adapter: start?.tensors },
          seed: BigInt(settings.seed),
          threads,
          device: options.device,
          prefixCache: options.prefixCache,
          quantize: settings.quantize ?? undefined,
          runTokens: settings.runTokens,
        }),
      stepper,
      schedule: {
        kind: settings.schedule,
        learningRate: settings.learningRate,
        warmup: settings.warmup,
        steps: settings.steps,
      },
      async check(engine) {
        // What is written changes by whole words: its differences say nothing of rounding.
        if (options.noiseCheck === false || objective.asks !== undefined) return [];
        const { epsilon: usual } = tuningOf(settings.optimizer, settings.method);
        const { epsilon } = settings;
        const batch = smallBatch(model.family, objective, order(0).map(treeAt));
        try {
          const noise = await checkNoise(engine, { epsilon, usual, seed: stepper.seed, batch });
          return noiseWarnings(noise).map(({ message, advice }) => `Noise: ${message} (${advice}).`);
        } catch (error) {
          // A loss that is not finite: the first step will be refused, and journaled so.
          if (error instanceof ZerothError) return [error.message];
          throw error;
        }
      },
      evalEvery: dev.trees.length === 0 ? 0 : settings.evalEvery,
      patience: settings.patience,
      signal: options.signal,
      batch: (step) => batchOf(packsOf(step)),
      anchor() {
        const rows = Array.from({ length: Math.min(settings.anchorRows, train.length) }, (_, row) => row);
        anchor ??= batchOf(packed(rows));
        return anchor;
      },
      async evaluate(engine) {
        // Hidden states of dev rows are kept behind those of training rows.
        const keptFrom = method.firstLayer === 0 ? undefined : train.length;
        const { value } = await measure(engine, model, dev.trees, task.metric, { keptFrom });
        return { metric: task.metric, value };
      },
      hashBase: async (signal) => ({ sha256: await hashWeights(model.files, { signal }) }),
      save: saverOf(model, settings, whole),
    },
  };
};
