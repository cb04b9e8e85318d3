import { createHash } from "node:crypto";
import { copyFile, mkdir, mkdtemp, readdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { packs } from "../batch/pack.js";
import { chooseTask } from "../data/choose.js";
import { dataFile, readRows } from "../data/rows.js";
import { batchOrder, splitRows } from "../data/split.js";
import { valuesOf } from "../engine/engine.js";
import { runOf } from "../engine/feeds.js";
import type { ProgramPlan } from "../engine/protocol.js";
import { ZerothError } from "../errors.js";
import { KERNEL_VERSION } from "../kernels/walk.js";
import { fingerprint, hashWeights } from "../model/open.js";
import { readTensorSync } from "../model/weights.js";
import { lossOf } from "../objective/objective.js";
import { optimizers } from "../optimizer/optimizers.js";
import { fullMethod } from "../peft/full.js";
import { loraMethod, loraModules } from "../peft/lora.js";
import { inLayers, type Method } from "../peft/method.js";
import { saveAdapter, saveModel } from "../peft/save.js";
import { perturbations } from "../perturbation/perturbations.js";
import { PHILOX_ROUNDS } from "../random/philox.js";
import { type JournalHeader, requireSameRun } from "../train/journal.js";
import type { Batch } from "../train/loop.js";
import { finishedResult, type RunPlan, trainRun } from "../train/run.js";
import { openRunFolder } from "../train/run-folder.js";
import type { Stepper } from "../train/step.js";
import { checkNoise, smallBatch } from "./doctor/noise.js";
import { noiseWarnings } from "./doctor/warnings.js";
import { openEngine, threadsOf } from "./engines.js";
import { measure } from "./evaluate.js";
import { examplesOf, objectiveOf, trainingTrees, truncationNote } from "./examples.js";
import type { Model } from "./load.js";
import { prefetcher, type RowPack } from "./prefetch.js";
import { freeSettings, resolveSettings, type Settings, said } from "./settings.js";
import type { FinetuneOptions, FinetuneResult, Run, TrainEvent } from "./types.js";

const require = createRequire(import.meta.url);
const versionOf = (name: string): string => (require(name) as { version: string }).version;
/** Of Zeroth and of the runtime, for the journal's header. */
const versions = {
  zeroth: versionOf("../../package.json"),
  runtime: versionOf("onnxruntime-node/package.json"),
} as const;

/** The trainable set that settings name, on a model. */
export const methodOf = (model: Model, settings: Settings): Method => {
  const { layers } = settings;
  const last = model.family.layers - 1;
  if (layers !== null && (layers[0] > layers[1] || layers[1] > last)) {
    throw new ZerothError(`--layers ${layers.join("..")}: the model's blocks are 0..${last}.`, { kind: "usage" });
  }
  const parameters = inLayers(model.family.parameters, layers);
  if (settings.method === "full") return fullMethod(parameters);
  const { rank, alpha, targets } = settings;
  return loraMethod(
    loraModules({ peft_type: "LORA", r: rank, lora_alpha: alpha, target_modules: targets }, parameters),
  );
};

/** What takes the steps of a run with these settings. */
export const stepperOf = (settings: Settings): { stepper: Stepper; program: ProgramPlan } => {
  const optimizer = optimizers[settings.optimizer];
  const noise = perturbations[settings.perturbation];
  const { distribution, direction } = optimizer.shape?.(noise) ?? noise;
  return {
    stepper: {
      estimator: optimizer.estimator,
      optimizer: optimizer.configure(settings.hyperparameters),
      seed: BigInt(settings.seed),
      epsilon: settings.epsilon,
      queries: settings.queries,
    },
    program: { distribution, direction, rule: optimizer.rule, states: optimizer.states, exempt: optimizer.exempt },
  };
};

/** Copies what a run made, and nothing of how it was made. */
const copyResult = async (from: string, to: string): Promise<void> => {
  await mkdir(to, { recursive: true });
  for (const entry of await readdir(from, { withFileTypes: true })) {
    if (entry.isFile()) await copyFile(join(from, entry.name), join(to, entry.name));
  }
};

const hashOf = (value: unknown): string => createHash("sha256").update(JSON.stringify(value)).digest("hex");

const frozen = async (model: Model, name: string): Promise<Float32Array> => {
  const source = model.files.weights.get(name);
  if (source === undefined) throw new Error(`no tensor ${name}`);
  return readTensorSync(source);
};

/** Saves what a method trained: an adapter folder, or a whole model folder. */
export const saverOf =
  (model: Model, settings: Settings, method: Method): RunPlan["save"] =>
  (engine, folder) => {
    const trained = new Map(method.tensors.map(({ name, shape }) => [name, shape]));
    const read = (name: string) => {
      const shape = trained.get(name);
      return shape === undefined ? frozen(model, name) : valuesOf(engine, { name, shape });
    };
    return settings.method === "full"
      ? saveModel(folder, model.files, model.family.parameters, read)
      : saveAdapter(folder, model.files, method.tensors, settings, read);
  };

/** Training rows made into tokens before the first step, to see whether they fit the context. */
const LOOKED_AT = 512;

interface Prepared {
  readonly header: JournalHeader;
  readonly plan: Omit<RunPlan, "folder">;
  readonly start: Extract<TrainEvent, { type: "start" }>;
  readonly notes: readonly string[];
}

const prepare = async (
  model: Model,
  options: FinetuneOptions,
  settings: Settings,
  resumedAt: number,
): Promise<Prepared> => {
  const task = chooseTask({
    task: settings.task ?? undefined,
    prompt: settings.prompt ?? undefined,
    options: settings.options ?? undefined,
    labels: settings.labels ?? undefined,
    format: settings.format ?? undefined,
  });
  const file = await dataFile(options.data, "train");
  const rows = await readRows(file);
  const split = splitRows(rows.length, {
    trainRows: settings.trainRows ?? undefined,
    devRows: settings.devRows ?? undefined,
    seed: BigInt(settings.dataSeed),
  });
  const rowsAt = (indices: readonly number[]) => indices.flatMap((index) => rows[index] ?? []);
  const train = rowsAt(split.train);
  const dev = examplesOf(model, task, rowsAt(split.dev));
  const treeAt = trainingTrees(model, task, train);

  const method = methodOf(model, settings);
  const { stepper, program } = stepperOf(settings);
  const objective = objectiveOf(task);

  const order = batchOrder(train.length, settings.batchSize, BigInt(settings.seed));
  const packsOf = (step: number): readonly RowPack[] => {
    const rows = order(step);
    let from = 0;
    return packs(rows.map(treeAt), { head: objective.head }).map((pack) => {
      const start = from;
      from += pack.trees.length;
      return { pack, rows: rows.slice(start, from) };
    });
  };
  const runWith = ({ pack, rows }: RowPack) =>
    method.firstLayer === 0 ? runOf(model.family, pack) : runOf(model.family, pack, rows);
  const prefetch = method.firstLayer === 0 ? undefined : prefetcher(train.length, order, packsOf, runWith);
  const batch = (step: number): Batch => {
    const batchPacks = packsOf(step);
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
  const threads = threadsOf(settings.threads);
  const header: JournalHeader = {
    zeroth: versions.zeroth,
    model: { origin: model.files.origin.spec, fingerprint: fingerprint(model.files) },
    data: createHash("sha256")
      .update(await readFile(file))
      .digest("hex"),
    options: settings,
    rounds: PHILOX_ROUNDS,
    mode: method.placement,
    parameters: hashOf(method.tensors.map(({ name, shape }) => [name, shape])),
    runtime: { name: "onnxruntime-node", version: versions.runtime, threads },
    kernels: KERNEL_VERSION,
  };
  // Of a large file the first rows tell: cutting is a matter of the template and the model, not of single rows.
  const seen = [...dev.trees, ...train.slice(0, LOOKED_AT).map((_, index) => treeAt(index))];
  const notes = [truncationNote(seen)].filter((note) => note !== undefined);
  return {
    header,
    notes,
    start: {
      type: "start",
      steps: settings.steps,
      resumedAt,
      trainRows: train.length,
      devRows: dev.trees.length,
      trainableParameters: method.tensors.reduce(
        (sum, { shape }) => sum + shape.reduce((size, dim) => size * dim, 1),
        0,
      ),
      parameters: model.parameters,
    },
    plan: {
      header,
      openEngine: () =>
        openEngine(model, {
          method,
          program,
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
        if (options.noiseCheck === false) return [];
        const { epsilon: usual } =
          optimizers[settings.optimizer].defaults[settings.method === "full" ? "full" : "adapter"];
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
      batch,
      async evaluate(engine) {
        const { value } = await measure(engine, model.family, dev.trees, task.metric);
        return { metric: task.metric, value };
      },
      hashBase: async (signal) => ({ sha256: await hashWeights(model.files, { signal }) }),
      save: saverOf(model, settings, method),
    },
  };
};

/**
 * Fine-tunes a model with forward passes only. Nothing happens until the run is iterated.
 *
 * @throws ZerothError from the iteration: bad options, data or folders before anything is written; a loss that is not finite
 *   after the last good weights were saved
 */
export const finetune = (model: Model, options: FinetuneOptions): Run => {
  let settle: (result: FinetuneResult) => void = () => {};
  let fail: (error: unknown) => void = () => {};
  const result = new Promise<FinetuneResult>((resolve, reject) => {
    settle = resolve;
    fail = reject;
  });
  result.catch(() => undefined);
  let out: string | undefined;

  const drive = async function* (): AsyncGenerator<TrainEvent> {
    const folderName = options.out ?? (await mkdtemp(join(tmpdir(), "zeroth-")));
    out = folderName;
    const given = said(options);
    const threads = threadsOf(options.threads);
    // Options out of range are refused before the folder is touched.
    if (options.resume !== true) {
      const settings = resolveSettings(given, threads);
      stepperOf(settings);
      methodOf(model, settings);
    }
    const folder = openRunFolder(folderName, { resume: options.resume ?? false });
    try {
      const already = finishedResult(folder);
      if (already !== undefined) {
        settle(already);
        yield { type: "done", result: already };
        return;
      }
      const journaled = folder.state.kind === "unfinished" ? folder.state.journal : undefined;
      const settings = resolveSettings({ threads, ...given }, threads, journaled?.header.options);
      const { header, plan, start, notes } = await prepare(model, options, settings, journaled?.stepCount ?? 0);
      if (journaled !== undefined) {
        requireSameRun(folder.paths.journal, journaled.header, header, freeSettings(settings));
        await requireSameBase(model, folder.paths.journal, journaled.base?.sha256);
      }
      yield start;
      for (const message of notes) yield { type: "note", message };
      const made = yield* trainRun({ ...plan, folder });
      settle(made);
      yield { type: "done", result: made };
    } finally {
      folder.release();
    }
  };
  const events = async function* (): AsyncGenerator<TrainEvent> {
    try {
      yield* drive();
    } catch (error) {
      fail(error);
      throw error;
    } finally {
      // Only matters where the iteration was left before its end: the promise is settled otherwise.
      fail(
        new ZerothError(
          `The run was left before its end; its journal in ${out} holds every step.\nGo on with resume: true. To stop a run and keep its weights, abort its signal.`,
        ),
      );
    }
  };

  return {
    result,
    [Symbol.asyncIterator]: () => events(),
    async save(folder) {
      await result;
      if (out !== undefined) await copyResult(out, folder);
    },
  };
};

/** The journal's header has a quick fingerprint of the base; its hashes, once they were ready, are the proof. */
export const requireSameBase = async (
  model: Model,
  journal: string,
  expected: Readonly<Record<string, string>> | undefined,
): Promise<void> => {
  if (expected === undefined) return;
  const found = await hashWeights(model.files, {});
  const different = Object.keys({ ...expected, ...found }).filter((file) => expected[file] !== found[file]);
  if (different.length === 0) return;
  throw new ZerothError(
    `${journal} was made with another base model: ${different.join(", ")} ${different.length === 1 ? "differs" : "differ"}.\nGive the model it was made with, or start a new run in another --out.`,
  );
};
