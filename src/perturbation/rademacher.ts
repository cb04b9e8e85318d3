import type { Perturbation } from "./perturbation.js";

/** z uniform on {−1, +1}ᵈ: unbiased like the Gaussian, with a smaller second moment (d + q − 1)/q, and nearly free to draw. */
export const rademacher: Perturbation = { name: "rademacher", distribution: "rademacher", onSphere: false };
