import type { Perturbation } from "./perturbation.js";

/**
 * z uniform on the sphere of radius √d: a Gaussian scaled to that length, which takes one more pass over its noise. Second moment
 * (d + q − 1)/q.
 */
export const sphere: Perturbation = { name: "sphere", distribution: "gaussian", onSphere: true };
