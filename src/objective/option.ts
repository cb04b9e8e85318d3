import type { Pack } from "../batch/pack.js";
import { cellOf, meanOf, type Objective, type Share } from "./objective.js";

/** log Σ exp(xᵢ), without overflow. */
export const logSumExp = (values: Float64Array): number => {
  const largest = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  // All −∞, a +∞ or a NaN: the shift below would make NaN of an answer that is already known.
  if (!Number.isFinite(largest)) return largest;
  return largest + Math.log(values.reduce((sum, value) => sum + Math.exp(value - largest), 0));
};

/**
 * Each tree's option scores: the mean over an option's scored tokens of log p(token | context), as in MeZO (arXiv 2305.17333).
 * With the `columns` head a score is the option's logit, which differs by the same constant for all options of a tree: loss,
 * prediction and probabilities are equal.
 */
export const optionScores = (pack: Pack, output: Float32Array): readonly Float64Array[] => {
  const branches = pack.trees.reduce((sum, tree) => sum + tree.branches.length, 0);
  const sums = new Float64Array(branches);
  const counts = new Float64Array(branches);
  pack.owners.forEach((owner, k) => {
    sums[owner] = (sums[owner] ?? 0) + cellOf(pack, output, k);
    counts[owner] = (counts[owner] ?? 0) + 1;
  });
  let next = 0;
  return pack.trees.map((tree) => {
    const start = next;
    next += tree.branches.length;
    return sums.slice(start, next).map((sum, b) => sum / (counts[start + b] ?? 0));
  });
};

/** The option with the highest score, the first of equals. */
export const predicted = (scores: Float64Array): number =>
  scores.reduce((best, score, i) => (score > (scores[best] ?? Number.NaN) ? i : best), 0);

/** Each option's probability among the options: softmax of the scores. */
export const probabilities = (scores: Float64Array): Float64Array => {
  const normaliser = logSumExp(scores);
  return scores.map((score) => Math.exp(score - normaliser));
};

/** Cross-entropy of the right option over the options' scores, summed over a pack's rows. */
const optionLosses: Share = (pack, output) => {
  const scores = optionScores(pack, output);
  const total = pack.trees.reduce((sum, tree, t) => {
    const own = scores[t] ?? new Float64Array(0);
    const right = own[tree.label];
    if (right === undefined) throw new RangeError(`line ${tree.line}: label ${tree.label} of ${own.length} options`);
    return sum + logSumExp(own) - right;
  }, 0);
  return { total, weight: pack.trees.length };
};

/** Classification: cross-entropy of the right option over the options' scores, mean over rows (nats). */
export const classification: Objective = { name: "classification", head: "auto", loss: meanOf(optionLosses) };
