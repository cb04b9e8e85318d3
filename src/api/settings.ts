import { z } from "zod";
import { ZerothError } from "../errors.js";
import { type EstimatorName, estimators } from "../estimator/estimators.js";
import type { Json } from "../model/json.js";
import { type MetricName, metrics } from "../objective/metrics.js";
import type { Tuning } from "../optimizer/optimizer.js";
import { DEFAULT_OPTIMIZER, type OptimizerName, optimizers } from "../optimizer/optimizers.js";
import type { PeftMethod } from "../peft/define.js";
import { type MethodName, methodNames, methods } from "../peft/methods.js";
import { type PartitionLevel, partitionLevels } from "../peft/partition.js";
import { type PerturbationName, perturbations } from "../perturbation/perturbations.js";
import { type SubspaceName, subspaceOptions } from "../perturbation/subspace.js";
import { scheduleKinds } from "../train/schedule.js";
import { checkChoice } from "./choice.js";
import type { FinetuneOptions } from "./types.js";

const names = <T extends string>(table: Readonly<Record<T, unknown>>) => Object.keys(table) as [T, ...T[]];
const count = z.int().min(1);
const whole = z.int().min(0);
/** Twice a pack: a two-sided step of a short batch is one run. */
const RUN_TOKENS = 512;
const [DEFAULT_METHOD] = methodNames;
/** What fp32 can hold: every number of a step is rounded to it. */
const LARGEST = 3.4e38;

/** Everything but the method's own options. */
export const settingsSchema = z.strictObject({
  task: z.string().nullable(),
  prompt: z.string().nullable(),
  options: z.string().nullable(),
  labels: z.string().nullable(),
  format: z.enum(["completion", "chat"]).nullable(),
  method: z.enum(methodNames),
  quantize: z.union([z.literal(4), z.literal(8)]).nullable(),
  optimizer: z.enum(names<OptimizerName>(optimizers)),
  learningRate: z.number().min(0).max(LARGEST),
  epsilon: z.number().positive().max(LARGEST),
  perturbation: z.enum(names<PerturbationName>(perturbations)),
  subspace: z.enum(names<SubspaceName>(subspaceOptions)).nullable(),
  mask: z.string().nullable(),
  estimator: z.enum(names<EstimatorName>(estimators)).nullable(),
  blocks: z.enum(partitionLevels as [PartitionLevel, ...PartitionLevel[]]).nullable(),
  sweep: z.enum(["gauss-seidel", "jacobi"]),
  objective: z.enum(["loss", ...names<MetricName>(metrics)]),
  anchorRows: count,
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
  perClass: count.nullable(),
  dataSeed: whole,
  evalEvery: whole,
  patience: whole,
  threads: count,
});

/** Everything that a run's weights depend on besides model and data, defaults filled in. */
export type Settings = z.infer<typeof settingsSchema> & {
  /** As the method's own schema has them. */
  readonly methodOptions: Json;
};

type Flat = Readonly<Record<string, unknown>>;

/** Settings side by side with the method's own: what the journal's header holds, and what is said. */
export const written = ({ methodOptions, ...settings }: Settings): Flat => ({ ...settings, ...methodOptions });

/** Settings apart from what is a method's own. */
const apart = (flat: Flat): { shared: Flat; own: Flat } => {
  const isShared = ([name]: [string, unknown]) => Object.hasOwn(settingsSchema.shape, name);
  const entries = Object.entries(flat);
  return {
    shared: Object.fromEntries(entries.filter(isShared)),
    own: Object.fromEntries(entries.filter((entry) => !isShared(entry))),
  };
};

/** Settings as they were written. @throws ZerothError or ZodError that names what this version does not know */
export const readSettings = (flat: Flat): Settings => {
  const { shared, own } = apart(flat);
  const settings = settingsSchema.parse(shared);
  return { ...settings, methodOptions: methods[settings.method].parse(own) };
};

/** Where an optimizer starts from with a method. */
export const tuningOf = (optimizer: OptimizerName, method: MethodName): Tuning => {
  const { of, learningRate = 1, epsilon = 1 } = (methods[method] as PeftMethod).tuning;
  const tuning = optimizers[optimizer].defaults[of];
  // Powers of ten: the product is the number that one would write.
  const times = (value: number, factor: number) => Number((value * factor).toPrecision(12));
  return { learningRate: times(tuning.learningRate, learningRate), epsilon: times(tuning.epsilon, epsilon) };
};

/** Settings that may differ when a run is gone on with; `steps` joins them where nothing depends on how many there are. */
export const freeSettings = ({ schedule, optimizer }: Settings): readonly (keyof Settings)[] =>
  schedule === "constant" && !optimizers[optimizer].horizon
    ? ["threads", "evalEvery", "steps"]
    : ["threads", "evalEvery"];

/** What the user said, by the settings' names; nothing for what was left out. */
export const said = (options: FinetuneOptions): Flat => {
  const { method: choice, optimizer } = options;
  const { kind: method, ...own } = choice ?? {};
  const given = {
    ...own,
    task: options.task,
    prompt: options.prompt,
    options: options.options,
    labels: options.labels,
    format: options.format,
    method,
    quantize: options.quantize,
    optimizer: optimizer?.name,
    learningRate: optimizer?.learningRate,
    epsilon: optimizer?.epsilon,
    perturbation: optimizer?.perturbation,
    subspace: optimizer?.subspace,
    mask: optimizer?.mask,
    estimator: optimizer?.estimator,
    blocks: optimizer?.blocks,
    sweep: optimizer?.sweep,
    // A function is the caller's to give again; what it is cannot be written down.
    objective: typeof options.objective === "function" ? undefined : options.objective,
    anchorRows: optimizer?.anchorRows,
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
    perClass: options.perClass,
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
export const resolveSettings = (given: Flat, threads: number, journaled?: Flat): Settings => {
  const before = journaled ?? {};
  const optimizerName = String(given.optimizer ?? before.optimizer ?? DEFAULT_OPTIMIZER);
  const methodName = String(given.method ?? before.method ?? DEFAULT_METHOD);
  const method = Object.hasOwn(methods, methodName) ? (methodName as MethodName) : DEFAULT_METHOD;
  const known = Object.hasOwn(optimizers, optimizerName) ? (optimizerName as OptimizerName) : DEFAULT_OPTIMIZER;
  const optimizer = optimizers[known];
  const tuning = tuningOf(known, method);
  const defaults: Record<keyof typeof settingsSchema.shape, unknown> = {
    task: null,
    prompt: null,
    options: null,
    labels: null,
    format: null,
    method: DEFAULT_METHOD,
    quantize: null,
    optimizer: DEFAULT_OPTIMIZER,
    learningRate: tuning.learningRate,
    epsilon: tuning.epsilon,
    perturbation: optimizer.noises[0],
    ...{ subspace: null, mask: null, estimator: null, blocks: null, sweep: "gauss-seidel" },
    ...{ objective: "loss", anchorRows: 512 },
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
    perClass: null,
    dataSeed: 0,
    evalEvery: 200,
    patience: 0,
    threads,
  };
  const preset = apart(optimizer.preset);
  const [then, now] = [apart(before), apart(given)];
  const parsed = settingsSchema.safeParse({ ...defaults, ...preset.shared, ...then.shared, ...now.shared });
  if (parsed.success) {
    // An optimizer's preset is for the method that it is published with.
    const fits = Object.entries(preset.own).filter(([name]) => Object.hasOwn(methods[method].options, name));
    const own = { ...Object.fromEntries(fits), ...(before.method === method ? then.own : {}), ...now.own };
    const settings = { ...parsed.data, methodOptions: methods[method].parse(own) };
    checkChoice(settings);
    return settings;
  }
  const [issue] = parsed.error.issues;
  const name = String(issue?.path[0] ?? "options");
  throw new ZerothError(`${optionName(name)}: ${issue?.message ?? "not valid"}.`, { kind: "usage" });
};
