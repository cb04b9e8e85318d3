import { type FinetuneOptions, type MethodChoice, type OptimizerChoice, ZerothError } from "../index.js";
import { dataChoice } from "./flags.js";

/** What was said of the method; nothing if nothing was, so that a run that is gone on with keeps its own. */
const methodChoice = (options: {
  method?: "lora" | "full" | undefined;
  rank?: number | undefined;
  alpha?: number | undefined;
  targets?: string | undefined;
  layers?: readonly [number, number] | undefined;
}): MethodChoice | undefined => {
  const { method, rank, alpha, targets, layers } = options;
  const ofLora = rank ?? alpha ?? targets;
  if (method === "full") {
    if (ofLora === undefined) return { kind: "full", layers };
    throw new ZerothError("--rank, --alpha and --targets are LoRA's; --method full has none.", { kind: "usage" });
  }
  if (method === undefined && ofLora === undefined && layers === undefined) return undefined;
  const names = targets?.split(",").map((name) => name.trim());
  return { kind: "lora", rank, alpha, layers, targets: targets?.trim() === "all-linear" ? "all-linear" : names };
};

const optimizerChoice = (options: {
  optimizer?: OptimizerChoice["name"] | undefined;
  perturbation?: OptimizerChoice["perturbation"];
  learningRate?: number | undefined;
  epsilon?: number | undefined;
  queries?: number | undefined;
  hyperparameters?: Readonly<Record<string, number>> | undefined;
}): OptimizerChoice | undefined => {
  const { optimizer, ...rest } = options;
  const { perturbation, learningRate, epsilon, queries, hyperparameters } = rest;
  const said = { perturbation, learningRate, epsilon, queries, hyperparameters };
  if (optimizer === undefined && Object.values(said).every((value) => value === undefined)) return undefined;
  return { name: optimizer ?? "mezo", ...said };
};

type Named =
  | "steps"
  | "batchSize"
  | "runTokens"
  | "schedule"
  | "warmup"
  | "seed"
  | "trainRows"
  | "devRows"
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
  const { steps, batchSize, runTokens, schedule, warmup, seed, trainRows, devRows, dataSeed } = options;
  const { evalEvery, patience, threads, device, prefixCache, quantize } = options;
  return {
    ...dataChoice(options),
    ...{ method: methodChoice(options), optimizer: optimizerChoice(options) },
    ...{ steps, batchSize, runTokens, schedule, warmup, seed, trainRows, devRows, dataSeed },
    ...{ evalEvery, patience, threads, device, prefixCache, quantize },
  };
};
