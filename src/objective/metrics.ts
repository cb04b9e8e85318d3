import type { Pack } from "../batch/pack.js";
import { isRight } from "../data/tree.js";
import type { Objective } from "./objective.js";
import { optionScores, predicted } from "./option.js";

/** What a model chose for a row. */
export interface Answer {
  /** Index of the chosen option; of the right one, where it is another that is right, too. */
  readonly prediction: number;
  /** Index of the right one. */
  readonly label: number;
  /** Each option's score: the mean log-probability of its tokens, up to a constant of the row. */
  readonly scores: Float64Array;
  /** Line of the row in its file. */
  readonly line: number;
}

/** Any number that answers have; training makes it small. It need not be smooth. */
export type Metric = (answers: readonly Answer[]) => number;

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Means over options of 2·TP / (2·TP + FP + FN), options that are neither right nor chosen anywhere left out. */
const macroF1: Metric = (answers) => {
  const options = [...new Set(answers.flatMap(({ prediction, label }) => [prediction, label]))];
  return mean(
    options.map((option) => {
      const both = answers.filter(({ prediction, label }) => prediction === option && label === option).length;
      const either = answers.filter(({ prediction, label }) => prediction === option || label === option).length;
      // |prediction| + |label| is |either| + |both|.
      return (2 * both) / (either + both);
    }),
  );
};

/** Metrics as objectives, negated: smaller is better (MeZO's objectives without a gradient, arXiv 2305.17333). */
export const metrics = {
  accuracy: (answers) => -mean(answers.map(({ prediction, label }) => (prediction === label ? 1 : 0))),
  f1: (answers) => -macroF1(answers),
} satisfies Readonly<Record<string, Metric>>;

export type MetricName = keyof typeof metrics;

const answersOf = (pack: Pack, output: Float32Array): readonly Answer[] =>
  optionScores(pack, output).flatMap((scores, i) => {
    const tree = pack.trees[i];
    if (tree === undefined) return [];
    const { label, line } = tree;
    const chosen = predicted(scores);
    return [{ prediction: isRight(tree, chosen) ? label : chosen, label, scores, line }];
  });

/** An objective out of a metric of all the batch's answers. */
export const metricObjective = (name: string, metric: Metric): Objective => ({
  name,
  head: "auto",
  loss: (packs, outputs) => metric(packs.flatMap((pack, i) => answersOf(pack, outputs[i] ?? new Float32Array(0)))),
});
