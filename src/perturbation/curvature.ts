import { div, input, sqrt } from "../kernels/expr.js";
import type { Perturbation } from "./perturbation.js";

/** Preconditioned noise H^(−1/2)·z, with the diagonal curvature H read from an optimizer's state (HiZOO, HELENE). */
export const byCurvature = (perturbation: Perturbation, state: string): Perturbation => ({
  ...perturbation,
  direction: div(perturbation.direction, sqrt(input(state))),
});
