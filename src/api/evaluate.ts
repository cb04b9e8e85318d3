import type { TokenTree } from "../data/tree.js";
import type { Engine } from "../engine/engine.js";
import type { RunnableModel } from "../model/onnx/imported.js";
import { tokenLosses } from "../objective/language.js";
import { optionScores, predicted } from "../objective/option.js";
import { openAdapted } from "./engines.js";
import { readExamples } from "./examples.js";
import type { Model } from "./load.js";
import { outputs } from "./score.js";
import type { EvaluateOptions, EvaluateResult } from "./types.js";

export interface Measured {
  readonly value: number;
  readonly correct: number;
}

/** Accuracy of the predicted options, or mean loss a scored token, over all trees. `keptFrom` is as `outputs` takes it. */
export const measure = async (
  engine: Engine,
  family: RunnableModel,
  trees: readonly TokenTree[],
  metric: "accuracy" | "loss",
  {
    onProgress = () => {},
    keptFrom,
  }: {
    readonly onProgress?: ((done: number, total: number) => void) | undefined;
    readonly keptFrom?: number | undefined;
  } = {},
): Promise<Measured> => {
  let done = 0;
  let correct = 0;
  let total = 0;
  let weight = 0;
  const head = metric === "accuracy" ? "auto" : "tokens";
  for await (const { pack, output } of outputs(engine, family, trees, head, keptFrom)) {
    if (metric === "accuracy") {
      const scores = optionScores(pack, output);
      correct += pack.trees.filter((tree, i) => predicted(scores[i] ?? new Float64Array(0)) === tree.label).length;
    } else {
      const share = tokenLosses(pack, output);
      total += share.total;
      weight += share.weight;
    }
    done += pack.trees.length;
    onProgress(done, trees.length);
  }
  return { correct, value: metric === "accuracy" ? correct / done : total / weight };
};

/**
 * Evaluates a model, or a model with an adapter, on validation rows in file order: accuracy where there are options to
 * choose from, mean loss (nats a token) otherwise.
 *
 * @throws ZerothError when model, adapter or data cannot be used
 */
export const evaluate = async (model: Model, options: EvaluateOptions): Promise<EvaluateResult> => {
  const adapted = await openAdapted(model, options);
  try {
    const { task, trees } = await readExamples(adapted.model, options, "validation", options);
    const { family } = adapted.model;
    const { value, correct } = await measure(adapted.engine, family, trees, task.metric, options);
    const result = { task: task.name, metric: task.metric, total: trees.length, value };
    return task.metric === "accuracy" ? { ...result, correct } : result;
  } finally {
    await adapted.engine.close();
  }
};
