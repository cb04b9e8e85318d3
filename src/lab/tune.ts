import type { Contender, Named } from "./contenders.js";
import type { Problem } from "./functions.js";
import { sweep } from "./sweep.js";
import { reached, type Trace, type TraceOptions, trace } from "./trace.js";

/** An optimizer with the settings that suit a problem best, of those that were tried. */
export interface Tuned {
  readonly optimizer: Named;
  readonly trace: Trace;
  /** Excess loss at the end; infinite where it diverged with all of them. */
  readonly excess: number;
  /** The best learning rate of each variant, where the next problem's sweep begins. */
  readonly rates: readonly (number | undefined)[];
}

/** Where a sweep begins that nothing is known about. */
const FIRST = 1e-2;

/**
 * Finds a contender's learning rate for a problem, and which of its variants does best, by the very run that is shown: the same seed and budget.
 *
 * @param before what was found on a problem like it
 */
export const tune = async (
  problem: Problem,
  { name, variants }: Contender,
  options: Omit<TraceOptions, "optimizer"> & { readonly epsilon: number },
  before?: Tuned,
): Promise<Tuned> => {
  const { epsilon, ...run } = options;
  const tuned: Tuned[] = [];
  for (const [i, variant] of variants.entries()) {
    const known = before?.rates[i];
    const choice = { name, epsilon, ...variant };
    const { outcome, score, learningRate } = await sweep(
      async (learningRate) => {
        const outcome = await trace(problem, { ...run, optimizer: { ...choice, learningRate } });
        return { outcome, score: reached(outcome) };
      },
      known ?? FIRST,
      known === undefined ? [2, 1] : [1],
    );
    const rate = Number.isFinite(score) ? learningRate : undefined;
    tuned.push({ optimizer: { ...choice, learningRate }, trace: outcome, excess: score, rates: [rate] });
  }
  const best = tuned.reduce((least, other) => (other.excess < least.excess ? other : least));
  return { ...best, rates: tuned.flatMap(({ rates }) => rates) };
};

/** Tunes for tasks that are alike, each sweep where the last one ended. */
export const tuneAll = async (
  tasks: readonly (Pick<TraceOptions, "noise"> & { readonly problem: Problem })[],
  contender: Contender,
  options: Omit<TraceOptions, "optimizer" | "noise"> & { readonly epsilon: number },
): Promise<readonly Tuned[]> => {
  const tuned: Tuned[] = [];
  for (const { problem, ...task } of tasks)
    tuned.push(await tune(problem, contender, { ...options, ...task }, tuned.at(-1)));
  return tuned;
};

/** Hyperparameters in words: "smoothing 0.001, reference 1". */
export const wordsOf = ({ hyperparameters = {} }: Named): string =>
  Object.entries(hyperparameters)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");
