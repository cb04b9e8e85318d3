import { z } from "zod";
import { threePoint } from "../estimator/three-point.js";
import { add, constant, div, input, max, mul, scalar, sqrt, sub } from "../kernels/expr.js";
import { byCurvature } from "../perturbation/curvature.js";
import { defineOptimizer } from "./optimizer.js";

const options = z.strictObject({
  /** α, the weight of the newest curvature estimate. */
  smoothing: z.number().min(0).max(1).default(1e-8),
  weightDecay: z.number().min(0).default(0),
});

const h = input("h");
// Δ/(2ε²)·(u² − 1), averaged over the queries: zz less the sum of its coefficients.
const correction = mul(h, sub(input("zz"), scalar("meanCurvature")));
const fresh = max(add(mul(scalar("keep"), h), mul(scalar("smoothing"), correction)), constant(1e-8));

/**
 * HiZOO (arXiv 2402.15173): noise and step preconditioned by a running diagonal curvature H, H₀ = 1.
 * Perturbs by H^(−1/2)u; H ← max((1 − α)·H + α·Δ/(2ε²)·H∘(u² − 1), 10⁻⁸); θ ← (1 − ηλ)·θ − η·s·H^(−1/2)∘u with the new H.
 * The "−1" makes H unbiased for diag(∇²L) (the released program drops it: its fixed point is (d + 2)/2 times too large).
 */
export const hizoo = defineOptimizer({
  name: "hizoo",
  paper: "arXiv 2402.15173",
  summary: "three forwards and one state: steps scaled by a running diagonal curvature",
  estimator: threePoint,
  options,
  defaults: { adapter: { learningRate: 1e-3, epsilon: 1e-2 }, full: { learningRate: 1e-5, epsilon: 1e-3 } },
  // Curvature is seen through u² − 1, which is 0 for signs.
  noises: ["gaussian"],
  shape: (perturbation) => byCurvature(perturbation, "h"),
  states: { h: 1 },
  rule: {
    h: fresh,
    weight: sub(mul(input("weight"), scalar("decay")), mul(scalar("learningRate"), div(input("g"), sqrt(fresh)))),
  },
  scalars: ({ smoothing, weightDecay }, learningRate, { curvature }) => ({
    learningRate,
    decay: 1 - learningRate * weightDecay,
    keep: 1 - smoothing,
    smoothing,
    meanCurvature: curvature.reduce((sum, term) => sum + term.scale, 0),
  }),
  exempt: { decay: 1 },
});
