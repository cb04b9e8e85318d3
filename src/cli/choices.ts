import { choices, type FinetuneOptions, type MethodChoice, type MethodName, type OptimizerSettings } from "../index.js";
import { dataChoice, methodOptions } from "./flags.js";

/** What was said of the method; nothing if nothing was, so that a run that is gone on with keeps its own. */
const methodChoice = (options: { readonly method?: MethodName | undefined }): MethodChoice | undefined => {
  const given = options as Readonly<Record<string, unknown>>;
  const own = methodOptions.flatMap((name) => (given[name] === undefined ? [] : [[name, given[name]] as const]));
  if (options.method === undefined && own.length === 0) return undefined;
  // Names and values are checked against the method's own, which a flag's text does not show.
  return { kind: options.method ?? choices.method[0], ...Object.fromEntries(own) } as MethodChoice;
};

/** Hyperparameters with flags of their own. */
export const flagged = ["momentum", "dampening", "weightDecay", "clip"] as const;

type OptimizerFlags = { readonly [K in keyof Omit<OptimizerSettings, "name">]?: OptimizerSettings[K] } & {
  readonly [K in (typeof flagged)[number]]?: number | undefined;
} & { readonly optimizer?: OptimizerSettings["name"] | undefined };

const optimizerChoice = (options: OptimizerFlags): OptimizerSettings | undefined => {
  const { optimizer, learningRate, epsilon, perturbation, queries, subspace, mask, estimator } = options;
  const { blocks, sweep, anchorRows } = options;
  const common = flagged.flatMap((name) => (options[name] === undefined ? [] : [[name, options[name]] as const]));
  const hyperparameters =
    common.length === 0 ? options.hyperparameters : { ...options.hyperparameters, ...Object.fromEntries(common) };
  const said = {
    ...{ learningRate, epsilon, perturbation, queries, subspace, mask, estimator },
    ...{ blocks, sweep, anchorRows, hyperparameters },
  };
  if (optimizer === undefined && Object.values(said).every((value) => value === undefined)) return undefined;
  return { ...(optimizer === undefined ? {} : { name: optimizer }), ...said };
};

type Named =
  | "objective"
  | "steps"
  | "batchSize"
  | "runTokens"
  | "schedule"
  | "warmup"
  | "seed"
  | "trainRows"
  | "devRows"
  | "perClass"
  | "dataSeed"
  | "evalEvery"
  | "patience"
  | "threads"
  | "device"
  | "prefixCache"
  | "quantize";

/** The run that flags describe, as the public API takes it. */
export const runChoice = (
  options: Parameters<typeof dataChoice>[0] &
    Parameters<typeof methodChoice>[0] &
    Parameters<typeof optimizerChoice>[0] &
    Pick<FinetuneOptions, Named>,
): Omit<FinetuneOptions, "out" | "resume" | "signal" | "noiseCheck"> => {
  const { objective, steps, batchSize, runTokens, schedule, warmup, seed, trainRows, devRows } = options;
  const { perClass, dataSeed, evalEvery, patience, threads, device, prefixCache, quantize } = options;
  return {
    ...dataChoice(options),
    ...{ method: methodChoice(options), optimizer: optimizerChoice(options) },
    ...{ objective, steps, batchSize, runTokens, schedule, warmup, seed, trainRows, devRows },
    ...{ perClass, dataSeed, evalEvery, patience, threads, device, prefixCache, quantize },
  };
};
