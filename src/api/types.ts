import type { Measure, Message } from "../data/task.js";
import type { EstimatorName } from "../estimator/estimators.js";
import type { FormatName } from "../export/formats.js";
import type { Metric, MetricName } from "../objective/metrics.js";
import type { OptimizerName } from "../optimizer/optimizers.js";
import type { MethodName, MethodOptionsOf } from "../peft/methods.js";
import type { PartitionLevel } from "../peft/partition.js";
import type { PerturbationName } from "../perturbation/perturbations.js";
import type { SubspaceName } from "../perturbation/subspace.js";
import type { ScheduleKind } from "../train/schedule.js";

/** Which rows, and how each becomes an example: a named task, an own template, or a format. Exactly one of the three. */
export interface DataChoice {
  /** A `.jsonl` or `.csv` file, or a folder with `train.jsonl` and `validation.jsonl` (or `.csv`). */
  readonly data: string;
  /** A task of the table: sst2, rte, cb, boolq, copa, winogrande, wsc, wic, multirc, record, squad, drop; and more for masked models and classifiers. */
  readonly task?: string | undefined;
  /** Own template: `"{sentence} It was"`. */
  readonly prompt?: string | undefined;
  /** Split at commas, spaces kept: `" terrible, great"`. */
  readonly options?: string | undefined;
  /** Aligns with `options`; without it integer labels index the options. */
  readonly labels?: string | undefined;
  /** `{prompt, completion}` rows, or `{messages}` rows with the model's chat template. */
  readonly format?: "completion" | "chat" | undefined;
}

/** The trainable set: a method of the table by its name, and its options. */
export type MethodChoice = { [N in MethodName]: { readonly kind: N } & MethodOptionsOf<N> }[MethodName];

/** What a run says of its optimizer. */
export interface OptimizerSettings {
  /** Default: `mezo`, or the one of the run that is gone on with. */
  readonly name?: OptimizerName | undefined;
  readonly learningRate?: number | undefined;
  /** Perturbation radius ε. */
  readonly epsilon?: number | undefined;
  readonly perturbation?: PerturbationName | undefined;
  /** Directions averaged a step. Default 1. */
  readonly queries?: number | undefined;
  /** Where directions lie, with its hyperparameters among the others. Default: the optimizer's own, mostly `dense`. */
  readonly subspace?: SubspaceName | undefined;
  /** The mask of the subspace `stored`: a safetensors file of element numbers by tensor. */
  readonly mask?: string | undefined;
  /** Default: the optimizer's own, mostly `two-sided`. */
  readonly estimator?: EstimatorName | undefined;
  /** Estimates and updates block by block, blocks being a transformer's, their halves, or single matrices. */
  readonly blocks?: PartitionLevel | undefined;
  /** Whether a block's update is made before the next block is looked at (the default), or after the last. */
  readonly sweep?: "gauss-seidel" | "jacobi" | undefined;
  /** Training rows that an anchored estimate (MeZO-SVRG) looks at. Default 512. */
  readonly anchorRows?: number | undefined;
  /** The optimizer's own hyperparameters and the common ones: `weightDecay`, `momentum`, HiZOO's `smoothing`. */
  readonly hyperparameters?: Readonly<Record<string, number>> | undefined;
}

/** An optimizer of its own name. */
export interface OptimizerChoice extends OptimizerSettings {
  readonly name: OptimizerName;
}

export interface LoadOptions {
  /** Told about downloads: bytes so far and in all, and the file. */
  readonly onProgress?: ((progress: { file: string; done: number; total: number | undefined }) => void) | undefined;
}

/**
 * Bits that the matrices of a floating-point model are rounded to while they are frozen, in blocks of 32: a quarter or an eighth
 * of the memory, at a price in accuracy. Blocks of a GGUF stay as they are without it.
 */
export type Quantize = 4 | 8;

/** Where and with how many threads the model runs. */
export interface RuntimeChoice {
  /** Threads of the runtime and of the kernels. Default: the machine's cores. */
  readonly threads?: number | undefined;
  readonly device?: "cpu" | "webgpu" | undefined;
  readonly quantize?: Quantize | undefined;
  /** A PEFT adapter folder, or a model folder that `full` wrote. */
  readonly adapter?: string | undefined;
}

export interface FinetuneOptions extends DataChoice {
  readonly method?: MethodChoice | undefined;
  readonly quantize?: Quantize | undefined;
  readonly optimizer?: OptimizerSettings | undefined;
  /**
   * What training makes small: the task's loss (the default), a metric that need not be smooth, negated (`accuracy`, `f1`), or any function of
   * the answers on a step's rows. Where the model writes its answers, they are written anew at every point: exact matches, or F1 of words.
   */
  readonly objective?: "loss" | MetricName | Metric | undefined;
  /** Default 1,000. */
  readonly steps?: number | undefined;
  /** Rows a step. Default 16. */
  readonly batchSize?: number | undefined;
  /**
   * Tokens of a run of the model at several points side by side: with an adapter, the two sides and the queries of a step share runs, which
   * pays where batches are short. 0 runs point after point. Losses differ in their last bits, so a run keeps its own. Default 512.
   */
  readonly runTokens?: number | undefined;
  readonly schedule?: ScheduleKind | undefined;
  /** Steps of linear warm-up. Default 0. */
  readonly warmup?: number | undefined;
  /** Master seed of noise, initialisation and data order. Default 0. */
  readonly seed?: number | undefined;
  /** Rows to train on, from the head of one permutation of the training file. Default: all that are not dev rows. */
  readonly trainRows?: number | undefined;
  /** Rows to choose the best step on, from the tail of that sample. Default a tenth, at most 500. */
  readonly devRows?: number | undefined;
  /** In place of both: as many rows of every class to train on, and as many again to choose the best step on. */
  readonly perClass?: number | undefined;
  /** Seed of that permutation. Default 0. */
  readonly dataSeed?: number | undefined;
  /** Steps between evaluations on the dev rows; 0 for none. Default 200. */
  readonly evalEvery?: number | undefined;
  /** Stop when this many evaluations in a row bring no better one. Default: never. */
  readonly patience?: number | undefined;
  readonly threads?: number | undefined;
  readonly device?: "cpu" | "webgpu" | undefined;
  /** MiB of memory for the hidden states that are kept where the first blocks are frozen; more go to a scratch file. Default 256. */
  readonly prefixCache?: number | undefined;
  /** Measures the loss's rounding noise before the first step, and tells where it drowns what ε changes. Takes a few seconds. Default true. */
  readonly noiseCheck?: boolean | undefined;
  /** Folder of the run and of what it makes. Default: a temporary one; `save` copies the result out of it. */
  readonly out?: string | undefined;
  /** Go on with the run in `out`, bit for bit. */
  readonly resume?: boolean | undefined;
  /** Stops cleanly after the current step. */
  readonly signal?: AbortSignal | undefined;
}

export interface MinimizeOptions {
  readonly optimizer: OptimizerChoice;
  /** Default 100. */
  readonly steps?: number | undefined;
  readonly seed?: number | undefined;
  readonly schedule?: ScheduleKind | undefined;
  readonly warmup?: number | undefined;
  /** The variables as a matrix, for optimizers that look at rows and columns. Default: a vector. */
  readonly shape?: readonly number[] | undefined;
  /** Perturbed in copies (the default), or in place as a model's own weights are, which rounds. */
  readonly placement?: "copies" | "in-place" | undefined;
  /** Told each step: x is a copy. */
  readonly onStep?: ((step: { step: number; x: Float32Array; loss: number; evaluations: number }) => void) | undefined;
}

export interface MinimizeResult {
  readonly x: Float32Array;
  /** Times that the function was called. */
  readonly evaluations: number;
  /** Mean of the values that each step looked at. */
  readonly losses: readonly number[];
}

export interface StepEvent {
  readonly type: "step";
  /** Counts from 1. */
  readonly step: number;
  readonly steps: number;
  /** Mean loss over the step's evaluations. */
  readonly loss: number;
  readonly learningRate: number;
  /** Mean over the queries of (L₊ − L₋)/2ε. */
  readonly projectedGradient: number;
  readonly secondsPerStep: number;
  readonly rssBytes: number;
}

export interface EvaluationEvent {
  readonly type: "evaluation";
  readonly step: number;
  readonly metric: Measure;
  readonly value: number;
  /** Better than every one before it. */
  readonly best: boolean;
}

export type TrainEvent =
  | {
      readonly type: "start";
      readonly steps: number;
      /** Steps already done: 0 for a fresh run. */
      readonly resumedAt: number;
      readonly trainRows: number;
      readonly devRows: number;
      readonly trainableParameters: number;
      readonly parameters: number;
    }
  | StepEvent
  | EvaluationEvent
  /** Something worth telling: rows cut, a torn journal record dropped, a stale lock recovered. */
  | { readonly type: "note"; readonly message: string }
  | { readonly type: "done"; readonly result: FinetuneResult };

export interface FinetuneResult {
  readonly steps: number;
  /** Mean training loss over the last steps (at most 20). */
  readonly loss: number;
  /** Median. */
  readonly secondsPerStep: number;
  readonly peakRssBytes: number;
  readonly out: string;
  /** The step whose weights were kept: the best on the dev rows, or the last. */
  readonly keptStep: number;
  readonly outcome: "finished" | "stopped early" | "interrupted" | "already finished";
  /** Path of the loss curve. */
  readonly chart: string;
}

/** A run: iterate it to drive it. */
export interface Run extends AsyncIterable<TrainEvent> {
  /** Settles when the iteration has ended. */
  readonly result: Promise<FinetuneResult>;
  /** Writes the tuned adapter (PEFT layout), or for `full` the model folder, into `folder`. Call it after the iteration. */
  save(folder: string): Promise<void>;
}

export interface EvaluateOptions extends DataChoice, RuntimeChoice {
  /** At most this many rows, from the head of the file. */
  readonly limit?: number | undefined;
  /** In-context demonstrations drawn from the training file. */
  readonly shots?: number | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface EvaluateResult {
  readonly task: string;
  readonly metric: Measure;
  /** Right predictions, or written answers that match exactly; absent when the metric is a loss. */
  readonly correct?: number;
  readonly total: number;
  readonly value: number;
}

export interface PredictOptions extends Omit<DataChoice, "data">, RuntimeChoice {}

/** A row as it came, with the option chosen and each option's probability among the options; or with the answer that the model writes. */
export interface Prediction {
  readonly row: Readonly<Record<string, unknown>>;
  readonly prediction: string | number | boolean;
  readonly scores: Readonly<Record<string, number>>;
}

export interface GenerateOptions extends RuntimeChoice {
  /** A text to go on with, or a conversation to answer by the model's chat template: one of the two. */
  readonly prompt?: string | undefined;
  readonly messages?: readonly Message[] | undefined;
  /** Default 256. */
  readonly maxTokens?: number | undefined;
  /** Logits are divided by it before a token is drawn. 0, the default where neither `topP` nor `topK` is given, takes the likeliest; else 1. */
  readonly temperature?: number | undefined;
  /** Draws from the fewest tokens whose probabilities come to this much. Default 1: from all. */
  readonly topP?: number | undefined;
  /** Draws from this many of the likeliest tokens. Default 0: from all. */
  readonly topK?: number | undefined;
  /** Default 0. */
  readonly seed?: number | undefined;
  /** Texts that end the generated one, and are no part of it. */
  readonly stop?: readonly string[] | undefined;
  /** Ends after the token in the making. */
  readonly signal?: AbortSignal | undefined;
}

export interface GenerateResult {
  readonly text: string;
  /** An end token came, or a stop sequence; or the text is as long as it may be, or as the model's context; or the signal came. */
  readonly reason: "end" | "stop" | "length" | "interrupted";
  readonly tokens: number;
  readonly promptTokens: number;
  /** Until the first token, the graph's loading included, and from then on. */
  readonly promptSeconds: number;
  readonly seconds: number;
}

export type GenerateEvent =
  /** Text that has become certain: no part of a character, and no beginning of a stop sequence. */
  { readonly type: "text"; readonly text: string } | { readonly type: "done"; readonly result: GenerateResult };

export interface MergeOptions {
  readonly adapter: string;
  readonly out: string;
  /** Default float32. */
  readonly dtype?: "float32" | "float16" | "bfloat16" | undefined;
}

export interface MergeResult {
  readonly out: string;
  readonly tensors: number;
  /** Of the weights that the adapter changes, the fraction still changed after rounding to `dtype`. */
  readonly survivingChanges: number;
}

export interface ExportOptions {
  readonly format: FormatName;
  /** A file for gguf, a folder that is empty or not there yet for the others. */
  readonly out: string;
  /** Default: the model as it is. */
  readonly adapter?: string | undefined;
  /** The adapter by itself, for a program that has the model already (gguf). Default false. */
  readonly adapterOnly?: boolean | undefined;
  /** Default float32. */
  readonly dtype?: "float32" | "float16" | "bfloat16" | undefined;
}

export interface ExportResult {
  readonly out: string;
  readonly format: ExportOptions["format"];
  readonly tensors: number;
  /** Of the weights that the adapter changes, the fraction still changed after rounding to `dtype`. */
  readonly survivingChanges: number;
}

export interface ReplayOptions {
  /** The run's folder (`finetune --out`). */
  readonly run: string;
  readonly out: string;
  /** Rebuild the weights after this step. Default: the step that the run kept. */
  readonly step?: number | undefined;
  readonly threads?: number | undefined;
}

export interface PreviewOptions extends DataChoice {
  /** How many examples. Default 1. */
  readonly limit?: number | undefined;
  /** The examples of a few-shot run: as many rows of every class. */
  readonly perClass?: number | undefined;
  /** Seed of their choice. Default 0. */
  readonly dataSeed?: number | undefined;
  readonly colour?: boolean | undefined;
}

/** The run that is planned, as `finetune` would be asked for it. */
export interface DoctorOptions extends Omit<FinetuneOptions, "out" | "resume" | "signal" | "noiseCheck"> {
  /** Tries learning rates, for about a minute at most. Default true. */
  readonly probe?: boolean | undefined;
  readonly onProgress?: ((progress: DoctorProgress) => void) | undefined;
}

export interface DoctorProgress {
  readonly check: "steps" | "noise" | "learning rate" | "rounding";
  readonly done: number;
  readonly total: number;
}

/** What one perturbation radius does, over a few directions z. */
export interface RadiusReport {
  readonly epsilon: number;
  /** Root mean square of L(θ + εz) − L(θ − εz); null where a loss is not finite. */
  readonly difference: number | null;
  /** That difference ÷ the rounding noise that is in it. */
  readonly signalToNoise: number;
  /** Relative error of the projected gradient from the loss's curvature; null where a loss is not finite. */
  readonly bias: number | null;
}

export interface NoiseReport {
  /** The planned ε. */
  readonly epsilon: number;
  /** Standard deviation of a loss's rounding error. */
  readonly roundingNoise: number;
  /** Root mean square of the projected gradients where they are surest. */
  readonly projectedGradient: number;
  /** Ascending; the planned ε is one of them. */
  readonly radii: readonly RadiusReport[];
  /** The planned ε if it is good, else the best one; null where none is good. */
  readonly recommended: number | null;
}

export interface RateReport {
  readonly learningRate: number;
  readonly verdict: "lowers" | "overshoots" | "diverges" | "too small to see";
  /** Of the loss, over the probe's steps; null where it is not finite. */
  readonly change: number | null;
  /** What the loss fell by ÷ what the slopes along the way promised: 1 for steps small enough, 0 or less for a divergence. */
  readonly gain: number | null;
}

export interface RatesReport {
  /** The planned one. */
  readonly learningRate: number;
  /** Loss before any step, on the rows that rates are tried on. */
  readonly loss: number;
  readonly rows: number;
  /** Rates that were tried, for a few steps each, ascending; empty without the probe. */
  readonly rates: readonly RateReport[];
  /** Root mean square of the projected gradients of the first steps, each with its own rows. */
  readonly projectedGradient: number;
  /** How far the planned run carries the weights, as the radius of a perturbation: √(Σ ηₜ²) times that. */
  readonly walk: number;
  /** The radius up to which the loss's slopes hold; null where they do at none. */
  readonly reach: number | null;
  /** Null where none was found. */
  readonly suggested: number | null;
}

/** Fractions of the trained weights (a sample) that change in each type; for LoRA in 16 bits, of the weights it is merged into. */
export interface MovedWeights {
  readonly float32: number;
  readonly bfloat16: number;
  readonly float16: number;
}

export interface MovedReport {
  readonly step: MovedWeights;
  /** All steps together, as the random walk that they mostly are. */
  readonly run: MovedWeights;
}

/** Of the first training steps. */
export interface PackingReport {
  readonly steps: number;
  readonly rows: number;
  readonly packsPerStep: number;
  /** Tokens that are computed. */
  readonly tokensPerStep: number;
  /** Tokens of the same rows in a padded batch: a sequence for each option, each as long as the longest of its step. */
  readonly paddedTokensPerStep: number;
  readonly saved: number;
  /** Rows that were cut because they are longer than the model's context. */
  readonly cut: number;
}

export interface CostReport {
  readonly steps: number;
  /** Median of a few. */
  readonly secondsPerStep: number;
  /** Of the whole run: steps, and evaluations on the dev rows. */
  readonly seconds: number;
  readonly rssBytes: number;
  readonly expectedPeakRssBytes: number;
  readonly trainableParameters: number;
  readonly parameters: number;
}

export interface DoctorWarning {
  readonly check: "noise" | "learning rate" | "rounding" | "packing" | "memory";
  /** Reads on from the name of the check. */
  readonly message: string;
  /** What to do. */
  readonly advice: string;
}

export interface DoctorReport {
  readonly noise: NoiseReport;
  readonly rates: RatesReport;
  /** Null where the step to measure it by is not finite. */
  readonly moved: MovedReport | null;
  readonly packing: PackingReport;
  readonly cost: CostReport;
  /** Empty when nothing stands in the way. */
  readonly warnings: readonly DoctorWarning[];
}
