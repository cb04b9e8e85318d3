import type { z } from "zod";
import { ZerothError } from "../errors.js";
import type { Estimator, Update } from "../estimator/estimator.js";
import type { Expr } from "../kernels/expr.js";
import type { Perturbation } from "../perturbation/perturbation.js";
import type { PerturbationName } from "../perturbation/perturbations.js";

/** Named fp32 numbers that a rule reads; they are rounded to fp32 and written to the journal before a kernel sees them. */
export type Scalars = Readonly<Record<string, number>>;

/** Where to start from when the user says nothing. */
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
interface Definition<O> {
  readonly name: string;
  readonly paper: string;
  readonly summary: string;
  readonly estimator: Estimator;
  /** Hyperparameters besides the learning rate and ε, with the paper's defaults; out of range is refused by name. */
  readonly options: z.ZodType<O>;
  /** Starting points: for adapters, and for a model's own weights. */
  readonly defaults: { readonly adapter: Tuning; readonly full: Tuning };
  /** The perturbations that it can learn from; the first is the one it is published with. */
  readonly noises: readonly [PerturbationName, ...PerturbationName[]];
  /** Shapes the perturbation by the optimizer's states. */
  readonly shape?: (perturbation: Perturbation) => Perturbation;
  /** Element-shaped states and their initial value: 4 bytes a trainable parameter each. */
  readonly states: Readonly<Record<string, number>>;
  /** New values of "weight" and of the states. */
  readonly rule: Readonly<Record<string, Expr>>;
  /** The step's scalars; `learningRate` is what the schedule gives. */
  scalars(options: O, learningRate: number, update: Update): Scalars;
  /** Values that replace the step's scalars on one-dimensional tensors (biases, norms): no weight decay there. */
  readonly exempt: Scalars;
}

/** An optimizer whose hyperparameters are chosen. */
export interface Configured {
  scalars(learningRate: number, update: Update): Scalars;
}

/** A definition closed over the type of its hyperparameters, so that a table can hold them all. */
export interface Optimizer extends Omit<Definition<never>, "options" | "scalars"> {
  /** @throws ZerothError that names the hyperparameter which is unknown or out of range */
  configure(options: Readonly<Record<string, unknown>>): Configured;
}

export const defineOptimizer = <O extends object>({ options: schema, scalars, ...rest }: Definition<O>): Optimizer => ({
  ...rest,
  configure(raw) {
    const parsed = schema.safeParse(raw);
    if (!parsed.success) {
      const issues = parsed.error.issues.map((issue) => `${issue.path.join(".") || "options"}: ${issue.message}`);
      throw new ZerothError(`The optimizer ${rest.name} does not take these options.\n${issues.join("; ")}`, {
        kind: "usage",
      });
    }
    const options = parsed.data;
    return {
      scalars: (learningRate, update) => scalars(options, learningRate, update),
    };
  },
});
