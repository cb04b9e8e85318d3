import { z } from "zod";
import { ZerothError } from "../errors.js";
import { type OptimizerName, optimizers } from "../optimizer/optimizers.js";
import { DEFAULT_TARGETS } from "../peft/lora.js";
import { type PerturbationName, perturbations } from "../perturbation/perturbations.js";
import { scheduleKinds } from "../train/schedule.js";
import type { FinetuneOptions } from "./types.js";

const names = <T extends string>(table: Readonly<Record<T, unknown>>) => Object.keys(table) as [T, ...T[]];
const count = z.int().min(1);
const whole = z.int().min(0);
/** Twice a pack: a two-sided step of a short batch is one run. */
const RUN_TOKENS = 512;
/** What fp32 can hold: every number of a step is rounded to it. */
const LARGEST = 3.4e38;

/** Everything that a run's weights depend on besides model and data, defaults filled in: what the journal's header holds. */
export const settingsSchema = z.strictObject({
  task: z.string().nullable(),
  prompt: z.string().nullable(),
  options: z.string().nullable(),
  labels: z.string().nullable(),
  format: z.enum(["completion", "chat"]).nullable(),
  method: z.enum(["lora", "full"]),
  rank: count.max(2 ** 14),
  alpha: z.number().positive(),
  targets: z.union([z.literal("all-linear"), z.array(z.string()).min(1)]),
  layers: z.tuple([whole, whole]).nullable(),
  quantize: z.union([z.literal(4), z.literal(8)]).nullable(),
  optimizer: z.enum(names<OptimizerName>(optimizers)),
  learningRate: z.number().min(0).max(LARGEST),
  epsilon: z.number().positive().max(LARGEST),
  perturbation: z.enum(names<PerturbationName>(perturbations)),
  queries: count.max(2 ** 20),
  hyperparameters: z.record(z.string(), z.number()),
  steps: count.max(2 ** 31),
  batchSize: count,
  runTokens: whole,
  schedule: z.enum(scheduleKinds as ["constant", "linear", "cosine"]),
  warmup: whole,
  seed: whole,
  trainRows: count.nullable(),
  devRows: whole.nullable(),
  dataSeed: whole,
  evalEvery: whole,
  patience: whole,
  threads: count,
});
export type Settings = z.infer<typeof settingsSchema>;

/** Settings that may differ when a run is gone on with; `steps` joins them under a constant schedule. */
export const freeSettings = (settings: Settings): readonly (keyof Settings)[] =>
  settings.schedule === "constant" ? ["threads", "evalEvery", "steps"] : ["threads", "evalEvery"];

/** What the user said, by the settings' names; nothing for what was left out. */
export const said = (options: FinetuneOptions): Partial<Record<keyof Settings, unknown>> => {
  const { method, optimizer } = options;
  const given = {
    task: options.task,
    prompt: options.prompt,
    options: options.options,
    labels: options.labels,
    format: options.format,
    method: method?.kind,
    rank: method?.kind === "lora" ? method.rank : undefined,
    alpha: method?.kind === "lora" ? method.alpha : undefined,
    targets: method?.kind === "lora" ? method.targets : undefined,
    layers: method?.layers,
    quantize: options.quantize,
    optimizer: optimizer?.name,
    learningRate: optimizer?.learningRate,
    epsilon: optimizer?.epsilon,
    perturbation: optimizer?.perturbation,
    queries: optimizer?.queries,
    hyperparameters: optimizer?.hyperparameters,
    steps: options.steps,
    batchSize: options.batchSize,
    runTokens: options.runTokens,
    schedule: options.schedule,
    warmup: options.warmup,
    seed: options.seed,
    trainRows: options.trainRows,
    devRows: options.devRows,
    dataSeed: options.dataSeed,
    evalEvery: options.evalEvery,
    patience: options.patience,
    threads: options.threads,
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
};

const optionName = (name: string): string => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/**
 * Fills in defaults and checks ranges.
 *
 * @param journaled the settings of a run to go on with; what was said overrides them (and is then compared)
 * @throws ZerothError (usage) that names the option out of range
 */
export const resolveSettings = (
  given: Partial<Record<keyof Settings, unknown>>,
  threads: number,
  journaled?: Readonly<Record<string, unknown>>,
): Settings => {
  const before = journaled ?? {};
  const optimizerName = String(given.optimizer ?? before.optimizer ?? "mezo");
  const method = given.method ?? before.method ?? "lora";
  const optimizer = Object.hasOwn(optimizers, optimizerName)
    ? optimizers[optimizerName as OptimizerName]
    : optimizers.mezo;
  const tuning = optimizer.defaults[method === "full" ? "full" : "adapter"];
  const defaults: Record<keyof Settings, unknown> = {
    task: null,
    prompt: null,
    options: null,
    labels: null,
    format: null,
    method: "lora",
    rank: 8,
    alpha: 16,
    targets: [...DEFAULT_TARGETS],
    layers: null,
    quantize: null,
    optimizer: "mezo",
    learningRate: tuning.learningRate,
    epsilon: tuning.epsilon,
    perturbation: optimizer.noises[0],
    queries: 1,
    hyperparameters: {},
    steps: 1000,
    batchSize: 16,
    runTokens: RUN_TOKENS,
    schedule: "constant",
    warmup: 0,
    seed: 0,
    trainRows: null,
    devRows: null,
    dataSeed: 0,
    evalEvery: 200,
    patience: 0,
    threads,
  };
  const parsed = settingsSchema.safeParse({ ...defaults, ...before, ...given });
  if (parsed.success) {
    const { noises, name } = optimizers[parsed.data.optimizer];
    if (noises.includes(parsed.data.perturbation)) return parsed.data;
    throw new ZerothError(
      `--perturbation: the optimizer ${name} learns nothing from ${parsed.data.perturbation} noise. It takes: ${noises.join(", ")}.`,
      { kind: "usage" },
    );
  }
  const [issue] = parsed.error.issues;
  const name = String(issue?.path[0] ?? "options");
  throw new ZerothError(`${optionName(name)}: ${issue?.message ?? "not valid"}.`, { kind: "usage" });
};
