import type { Key } from "../random/key.js";

/** `scale` times the direction that `key` draws. A gradient estimate, a perturbation and a stored past are all lists of terms. */
export interface Term {
  readonly key: Key;
  readonly scale: number;
}

/** Where a loss is asked for: the live weights plus a list of terms. The empty list is the live weights themselves. */
export type Point = readonly Term[];

/** What a step hands the optimizer: g = Σ scaleᵢ·zᵢ and, for curvature methods, zz = Σ scaleᵢ·zᵢ². */
export interface Update {
  readonly gradient: readonly Term[];
  readonly curvature: readonly Term[];
}

/** What an estimator asks of whoever drives it: losses at points (answered in order), or an update of the weights. */
export type Request =
  | { readonly kind: "evaluate"; readonly points: readonly Point[] }
  | { readonly kind: "update"; readonly update: Update };

/** What one step of an estimator knows. */
export interface Step {
  /** Perturbation radius ε. */
  readonly epsilon: number;
  /** Directions q to average over. */
  readonly queries: number;
  /** The noise key of query `query` of this step. */
  key(query: number): Key;
}

/**
 * A gradient estimator: a generator of requests, pure, so that the trainer, a replay, the lab or a test can drive it.
 *
 * The *sequence* of a generator's requests may not depend on the losses it is given, only the numbers in its updates
 * may. A replay therefore drives the same generator and puts the journal's numbers in place of the computed ones.
 */
export interface Estimator {
  readonly name: string;
  /** Loss evaluations a step. */
  evaluations(queries: number): number;
  step(step: Step): Generator<Request, void, readonly number[]>;
}

/** The loss at position `index` of an answer; an answer of the wrong length is a defect of the driver. */
export const lossAt = (losses: readonly number[], index: number): number => {
  const loss = losses[index];
  if (loss === undefined)
    throw new RangeError(`the driver answered ${losses.length} losses; number ${index} is missing`);
  return loss;
};
