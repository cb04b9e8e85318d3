import { type Expr, input } from "../kernels/expr.js";

/** The distribution that fills a tile of z: both have mean 0 and covariance I. */
export type Distribution = "gaussian" | "rademacher";

/**
 * How a key becomes a direction: noise z of a distribution, shaped elementwise. The direction is never stored; kernels
 * regenerate it from the key.
 */
export interface Perturbation {
  readonly name: string;
  readonly distribution: Distribution;
  /** z → direction; may read "z", and an optimizer's states by name. */
  readonly direction: Expr;
}

/** The noise itself. */
export const unshaped: Expr = input("z");
