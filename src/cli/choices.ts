import { type MethodChoice, type OptimizerChoice, ZerothError } from "../index.js";

/** What was said of the method; nothing if nothing was, so that a run that is gone on with keeps its own. */
export const methodChoice = (options: {
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

export const optimizerChoice = (options: {
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
