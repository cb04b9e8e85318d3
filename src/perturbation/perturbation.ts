import type { Distribution } from "../random/noise.js";

/**
 * How a key becomes noise z over the trainable tensors: mean 0, covariance I. It is never stored; kernels regenerate it from the key.
 */
export interface Perturbation {
  readonly name: string;
  readonly distribution: Distribution;
  /** Scaled to length √d, d the number of elements that move. */
  readonly onSphere: boolean;
}
