import type { z } from "zod";
import type { Estimator, Update } from "../estimator/estimator.js";
import type { Expr } from "../kernels/expr.js";
import type { Perturbation } from "../perturbation/perturbation.js";

/** Named fp32 numbers that a rule reads; they are rounded to fp32 and written to the journal before a kernel sees them. */
export type Scalars = Readonly<Record<string, number>>;

/** What every zeroth-order optimizer lets its user set. */
export interface Tuning {
  readonly learningRate: number;
  /** Perturbation radius ε. */
  readonly epsilon: number;
}

/**
 * A zeroth-order optimizer: how it estimates, how it perturbs, and what it does to each weight. The rule is written once, as
 * expressions over one weight, its gradient `g` (Σ scale·z of the noise as drawn), its curvature `zz` (Σ scale·z²), its
 * states and the step's scalars; kernels for every platform are generated from it.
 */
export interface Optimizer<O = unknown> {
  readonly name: string;
  readonly paper: string;
  readonly summary: string;
  readonly estimator: Estimator;
  /** Hyperparameters besides the learning rate and ε, with the paper's defaults; out of range is refused by name. */
  readonly options: z.ZodType<O>;
  /** Published or measured starting points, by kind of trainable set. */
  readonly defaults: { readonly small: Tuning; readonly full: Tuning };
  /** The noise it is published with. */
  readonly noise: "gaussian" | "rademacher";
  /** Shapes the perturbation by the optimizer's states. */
  readonly shape?: (perturbation: Perturbation) => Perturbation;
  /** Element-shaped states and their initial value: 4 bytes a trainable parameter each. */
  readonly states: Readonly<Record<string, number>>;
  /** New values of "weight" and of the states. */
  rule(options: O): Readonly<Record<string, Expr>>;
  /** The step's scalars; `learningRate` is what the schedule gives. */
  scalars(options: O, learningRate: number, update: Update): Scalars;
  /** Values that replace the step's scalars on one-dimensional tensors (biases, norms): no weight decay there. */
  readonly exempt: Scalars;
}
