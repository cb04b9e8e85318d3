import type { MetricName } from "./metrics.js";

/** A text without what does not count when answers are compared: case, punctuation, articles, spaces (SQuAD, arXiv 1606.05250). */
const normalised = (text: string): readonly string[] =>
  text
    .toLowerCase()
    .replace(/[!-/:-@[-`{-~]/g, "")
    .replace(/\b(a|an|the)\b/g, " ")
    .split(/\s+/)
    .filter((word) => word !== "");

/** Harmonic mean of precision and recall of the words that two texts have in common, repeated ones counted as often as both have them. */
const overlap = (text: string, gold: string): number => {
  const [words, wanted] = [normalised(text), normalised(gold)];
  const left = [...wanted];
  const common = words.filter((word) => {
    const at = left.indexOf(word);
    if (at >= 0) left.splice(at, 1);
    return at >= 0;
  }).length;
  return common === 0 ? 0 : (2 * common) / (words.length + wanted.length);
};

/** F1 of a written answer against the right ones: that of the nearest. */
export const tokenF1 = (text: string, golds: readonly string[]): number =>
  Math.max(0, ...golds.map((gold) => overlap(text, gold)));

/** Whether a written answer is one of the right ones. */
export const exactMatch = (text: string, golds: readonly string[]): boolean => {
  const words = normalised(text).join(" ");
  return golds.some((gold) => normalised(gold).join(" ") === words);
};

/** Scores of one written answer, by the names that metrics of chosen options have; the larger the better. */
export const writtenScores = {
  accuracy: (text, golds) => (exactMatch(text, golds) ? 1 : 0),
  f1: tokenF1,
} satisfies Readonly<Record<MetricName, (text: string, golds: readonly string[]) => number>>;
