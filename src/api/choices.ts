import { formatNames } from "../export/formats.js";
import { describeOptimizer, type OptimizerDescription } from "../optimizer/describe.js";
import type { OptimizerName, optimizers as optimizerTable } from "../optimizer/optimizers.js";
import type { PeftMethod } from "../peft/define.js";
import { type MethodName, type MethodOptionsOf, methodNames, methods as table } from "../peft/methods.js";
import type { MethodOption } from "../peft/options.js";
import type { subspaceOptions } from "../perturbation/subspace.js";
import { settingsSchema } from "./settings.js";
import type { MethodChoice, OptimizerChoice } from "./types.js";

const { shape } = settingsSchema;

/** The names that options take, defaults first where there is one for all. */
export const choices = {
  method: shape.method.options,
  optimizer: shape.optimizer.options,
  perturbation: shape.perturbation.options,
  subspace: shape.subspace.unwrap().options,
  estimator: shape.estimator.unwrap().options,
  blocks: shape.blocks.unwrap().options,
  sweep: shape.sweep.options,
  objective: shape.objective.options,
  schedule: shape.schedule.options,
  exportFormat: formatNames,
} as const;

/** A method of the table, for people. */
export interface MethodDescription {
  readonly name: MethodName;
  readonly summary: string;
  readonly options: readonly (Omit<MethodOption, "schema"> & { readonly name: string })[];
}

/** Every method: what it trains, and its options. */
export const methods = (): readonly MethodDescription[] =>
  methodNames.map((name) => {
    const { summary, options }: PeftMethod = table[name];
    return {
      ...{ name, summary },
      options: Object.entries(options).map(([option, { schema: _, ...rest }]) => ({ name: option, ...rest })),
    };
  });

/** Any method, by its name: `method("lora", { rank: 8 })`. */
export const method = <N extends MethodName>(name: N, options: MethodOptionsOf<N> = {}): MethodChoice =>
  // The union has each name with its own options, which a type parameter cannot show.
  ({ kind: name, ...options }) as MethodChoice;

/** LoRA: rank-r side paths on some linear layers, everything else frozen (arXiv 2106.09685). */
export const lora = (options?: MethodOptionsOf<"lora">): MethodChoice => method("lora", options);

/** Every parameter of the model, or of a range of its blocks. */
export const full = (options?: MethodOptionsOf<"full">): MethodChoice => method("full", options);

type SubspaceOptions = typeof subspaceOptions;
/** What an optimizer takes: hyperparameters of its own, the common ones, and those of a subspace that is put in its own one's place. */
type Hyperparameter<N extends OptimizerName> =
  | (N extends OptimizerName ? keyof (typeof optimizerTable)[N]["hyperparameters"] : never)
  | { [K in keyof SubspaceOptions]: keyof SubspaceOptions[K]["shape"] }[keyof SubspaceOptions];

/** Settings of one optimizer, its hyperparameters by their names. */
export interface OptimizerOptions<N extends OptimizerName = OptimizerName>
  extends Omit<OptimizerChoice, "name" | "hyperparameters"> {
  readonly hyperparameters?: { readonly [H in Hyperparameter<N>]?: number } | undefined;
}

/** Any optimizer, by its name: `optimizer("hizoo", { hyperparameters: { smoothing: 1e-6 } })`. */
export const optimizer = <N extends OptimizerName>(name: N, options: OptimizerOptions<N> = {}): OptimizerChoice => {
  const { hyperparameters, ...rest } = options;
  return {
    ...{ name, ...rest },
    ...(hyperparameters === undefined ? {} : { hyperparameters: hyperparameters as Readonly<Record<string, number>> }),
  };
};

/** MeZO: two-sided SPSA and zeroth-order SGD (arXiv 2305.17333). */
export const mezo = (options?: OptimizerOptions<"mezo">): OptimizerChoice => optimizer("mezo", options);

/** HiZOO: preconditioned by a running diagonal curvature (arXiv 2402.15173). */
export const hizoo = (options?: OptimizerOptions<"hizoo">): OptimizerChoice => optimizer("hizoo", options);

/** Every optimizer: paper, arithmetic, cost, memory, hyperparameters, and what it is good at. */
export const optimizers = (): readonly OptimizerDescription[] => choices.optimizer.map(describeOptimizer);
