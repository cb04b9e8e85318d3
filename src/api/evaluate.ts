import type { Measure } from "../data/task.js";
import { isRight, type TokenTree } from "../data/tree.js";
import type { Engine } from "../engine/engine.js";
import { tokenLosses } from "../objective/language.js";
import { optionScores, predicted } from "../objective/option.js";
import { exactMatch, tokenF1 } from "../objective/written.js";
import { withAdapter } from "./engines.js";
import { readExamples } from "./examples.js";
import type { Model } from "./load.js";
import { outputs } from "./score.js";
import type { EvaluateOptions, EvaluateResult } from "./types.js";
import { writtenAfter } from "./written.js";

export interface Measured {
  readonly value: number;
  /** Right predictions; exact matches of written answers. */
  readonly correct: number;
}

type OnProgress = (done: number, total: number) => void;

/** Mean F1 of the answers that the model writes, and how many match exactly. */
const measureWritten = async (
  engine: Engine,
  model: Model,
  trees: readonly TokenTree[],
  onProgress: OnProgress,
): Promise<Measured> => {
  let [total, correct] = [0, 0];
  for (const [i, { shared, golds = [] }] of trees.entries()) {
    const text = await writtenAfter(engine, model, shared);
    total += tokenF1(text, golds);
    if (exactMatch(text, golds)) correct++;
    onProgress(i + 1, trees.length);
  }
  return { value: total / trees.length, correct };
};

/**
 * Accuracy of the predicted options, F1 of written answers, or mean loss a scored token, over all trees.
 * @param how.keptFrom as `outputs` takes it
 */
export const measure = async (
  engine: Engine,
  model: Model,
  trees: readonly TokenTree[],
  metric: Measure,
  {
    onProgress = () => {},
    keptFrom,
  }: { readonly onProgress?: OnProgress | undefined; readonly keptFrom?: number | undefined } = {},
): Promise<Measured> => {
  if (metric === "f1") return measureWritten(engine, model, trees, onProgress);
  const { family } = model;
  let done = 0;
  let correct = 0;
  let total = 0;
  let weight = 0;
  const head = metric === "accuracy" ? "auto" : "tokens";
  for await (const { pack, output } of outputs(engine, family, trees, head, keptFrom)) {
    if (metric === "accuracy") {
      const scores = optionScores(pack, output);
      correct += pack.trees.filter((tree, i) => isRight(tree, predicted(scores[i] ?? new Float64Array(0)))).length;
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
 * choose from, F1 of written answers where the task asks for them, mean loss (nats a token) otherwise.
 *
 * @throws ZerothError when model, adapter or data cannot be used
 */
export const evaluate = async (model: Model, options: EvaluateOptions): Promise<EvaluateResult> => {
  const adapted = await withAdapter(model, options.adapter);
  const { task, trees } = await readExamples(adapted.model, options, "validation", options);
  const engine = await adapted.open(options);
  try {
    const { value, correct } = await measure(engine, adapted.model, trees, task.metric, options);
    const result = { task: task.name, metric: task.metric, total: trees.length, value };
    return task.metric === "loss" ? result : { ...result, correct };
  } finally {
    await engine.close();
  }
};
