import type { Key } from "../random/key.js";

/**
 * `scale` times the direction that `key` draws; of one block of the trainable tensors alone where `block` says so. A gradient estimate,
 * a perturbation and a stored past are all lists of terms.
 */
export interface Term {
  readonly key: Key;
  readonly scale: number;
  readonly block?: number;
}

/** Where a loss is asked for: the live weights plus a list of terms. The empty list is the live weights themselves. */
export type Point = readonly Term[];

/** What a step hands the optimizer: g = Σ scaleᵢ·zᵢ and, for curvature methods, zz = Σ scaleᵢ·zᵢ². */
export interface Update {
  readonly gradient: readonly Term[];
  readonly curvature: readonly Term[];
  /** The only block that is updated; all of them where it is not said. */
  readonly block?: number;
}

/**
 * What an estimator asks of whoever drives it.
 * - evaluate: losses at points, answered in order; on the step's rows, or on the anchor's (many, the same in every step).
 * - fix: numbers that later points depend on. The answer is these numbers in fp32 as they are journaled, so that a replay goes to the
 *   very same points.
 * - update: a change of the weights. The answer is its coefficients in fp32, gradient first.
 */
export type Request =
  | { readonly kind: "evaluate"; readonly points: readonly Point[]; readonly rows?: "batch" | "anchor" }
  | { readonly kind: "fix"; readonly numbers: readonly number[] }
  | { readonly kind: "update"; readonly update: Update };

/** What one step of an estimator knows. */
export interface Step<M = unknown> {
  /** Counts from 0. */
  readonly step: number;
  /** Passes over the training rows that are done. */
  readonly epoch: number;
  /** In fp32, as the step's rule reads it. */
  readonly learningRate: number;
  /** Perturbation radius ε. */
  readonly epsilon: number;
  /** Directions q to average over. */
  readonly queries: number;
  /** Blocks that the trainable tensors are divided into, for estimators that take them one by one. */
  readonly blocks: number;
  readonly memory: M;
  /** The noise key of query `query` of this step. */
  key(query: number): Key;
  /** The projected gradient as it is used: held within its bounds, where a run has some. */
  bounded(projectedGradient: number): number;
}

/**
 * A gradient estimator: a generator of requests, pure, so that the trainer, a replay, the lab or a test can drive it. It returns what it
 * remembers for the next step.
 *
 * The *sequence* of a generator's requests may not depend on the losses it is given, and its points and its memory on nothing but the
 * step and what `fix` and `update` answered: a replay drives the same generator with the journal's numbers in place of computed ones.
 */
export interface Estimator<M = unknown> {
  readonly name: string;
  /** Loss evaluations a step, for people: "2q". */
  readonly cost: string;
  /** Loss evaluations of a step (a long run's mean), rows of an anchor counted by the batch. */
  evaluations(queries: number, blocks: number): number;
  readonly initial: M;
  step(context: Step<M>): Generator<Request, M, readonly number[]>;
}

/** Number `index` of an answer; an answer of the wrong length is a defect of the driver. */
export const answerAt = (answer: readonly number[], index: number): number => {
  const value = answer[index];
  if (value === undefined)
    throw new RangeError(`the driver answered ${answer.length} numbers; number ${index} is missing`);
  return value;
};

/** The step's keys, one a query. */
export const keysOf = ({ queries, key }: Step): readonly Key[] =>
  Array.from({ length: queries }, (_, query) => key(query));

/** The two points to either side of the live weights along each key. */
export const sidesOf = (keys: readonly Key[], epsilon: number): readonly Point[] =>
  keys.flatMap((key): Point[] => [[{ key, scale: epsilon }], [{ key, scale: -epsilon }]]);
