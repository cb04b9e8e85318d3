import { type Expr, input } from "../kernels/expr.js";
import type { Distribution } from "../random/noise.js";

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
