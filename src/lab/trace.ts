import { minimize } from "../api/minimize.js";
import { ZerothError } from "../errors.js";
import { optimizers } from "../optimizer/optimizers.js";
import type { Named } from "./contenders.js";
import type { Problem } from "./functions.js";
import { lossNoise } from "./normal.js";

/** What a run has come to after a step. */
export interface Moment {
  /** Values of the function that have been looked at so far. */
  readonly evaluations: number;
  /** The function's own value above its least, without what noise was added to it. */
  readonly excess: number;
  readonly x: Float32Array;
}

/** A run: moments from the start on. A run that diverged ends where it did. */
export interface Trace {
  readonly moments: readonly Moment[];
  readonly diverged: boolean;
}

export interface TraceOptions {
  readonly optimizer: Named;
  readonly seed: number;
  /** Evaluations that a run may take: what optimizers that need more or fewer of them for a step have in common. */
  readonly budget: number;
  /** Standard deviation of the Gaussian noise on every value, independent from one to the next. Default 0. */
  readonly noise?: number;
}

/** Ends a run from within the function. */
class Ended extends Error {}

/** A value so many times the start's is one of a run that will not come back. */
const LOST = 1e6;

/** Steps to ask for: as many as the budget pays for where an optimizer depends on their number, and elsewhere until the budget is spent. */
const stepsOf = ({ name, queries, hyperparameters }: Named, budget: number): number => {
  const { configure, preset, horizon } = optimizers[name];
  if (!horizon) return budget;
  const { estimator } = configure(hyperparameters);
  return Math.max(1, Math.floor(budget / estimator.evaluations(queries ?? Number(preset.queries ?? 1), 1)));
};

/**
 * Runs an optimizer on a problem until its budget is spent, or until it diverges.
 *
 * @throws ZerothError (usage) for options that the optimizer does not take
 */
export const trace = async (problem: Problem, options: TraceOptions): Promise<Trace> => {
  const { optimizer, seed, budget, noise = 0 } = options;
  const { start, shape, least } = problem;
  const excessAt = (x: Float32Array): number => problem.value(x) - least;
  const first: Moment = { evaluations: 0, excess: excessAt(start), x: start };
  const moments: Moment[] = [first];
  const noiseAt = lossNoise(seed);
  let looked = 0;
  const ended = new Ended();
  const isLost = (excess: number): boolean => !(Math.abs(excess) < LOST * first.excess);
  let diverged = false;
  try {
    await minimize(
      (x) => {
        const value = problem.value(x);
        diverged = isLost(value - least);
        if (diverged || looked >= budget) throw ended;
        looked += 1;
        return noise === 0 ? value : value + noise * noiseAt(looked);
      },
      start,
      {
        ...{ optimizer, seed, shape },
        steps: stepsOf(optimizer, budget),
        onStep: ({ x, evaluations }) => moments.push({ x, evaluations, excess: excessAt(x) }),
      },
    );
  } catch (error) {
    // A refused step is a divergence as well; options that make no sense are the caller's.
    const refused = error instanceof ZerothError && error.kind !== "usage";
    if (error !== ended && !refused) throw error;
    diverged ||= refused;
  }
  diverged ||= isLost(moments.at(-1)?.excess ?? Number.NaN);
  return { moments, diverged };
};

/** Evaluations at the end of a run, as a fraction of all, that it is judged by. */
const LAST = 0.1;
/** Below it an excess loss is fp32's rounding of the variables. */
const FLOOR = 1e-12;

/** What a run reached: the geometric mean of the excess loss over its last tenth. Infinite where it diverged. */
export const reached = ({ moments, diverged }: Trace): number => {
  if (diverged) return Number.POSITIVE_INFINITY;
  const end = moments.at(-1)?.evaluations ?? 0;
  const last = moments.filter(({ evaluations }) => evaluations >= (1 - LAST) * end);
  const sum = last.reduce((total, { excess }) => total + Math.log(Math.max(FLOOR, excess)), 0);
  return Math.exp(sum / last.length);
};
