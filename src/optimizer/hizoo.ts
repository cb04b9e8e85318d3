import { z } from "zod";
import { threePoint } from "../estimator/three-point.js";
import { add, constant, div, input, max, mul, scalar, sqrt, sub } from "../kernels/expr.js";
import { defineOptimizer, flag } from "./optimizer.js";

const h = input("h");
/** α/(2ε²)·Δ·H∘(u² − 1) where `correction` is 1, and H∘u² where it is 0: zz is the mean over the queries of Δ/(2ε²)·u². */
const estimate = mul(h, sub(input("zz"), scalar("correction")));
const fresh = max(add(mul(scalar("keep"), h), mul(scalar("smoothing"), estimate)), constant(1e-8));

/**
 * HiZOO (arXiv 2402.15173): noise and step preconditioned by a running diagonal curvature H, H₀ = 1.
 * Perturbs by H^(−1/2)u; H ← max((1 − α)·H + α·Δ/(2ε²)·H∘(u² − 1), 10⁻⁸); θ ← (1 − ηλ)·θ − η·s·H^(−1/2)∘u with the new H. One state.
 */
export const hizoo = defineOptimizer({
  name: "hizoo",
  paper: "arXiv 2402.15173",
  summary: "a third forward and one state: steps scaled by a running diagonal curvature",
  formula: "Δ = ℓ₊ + ℓ₋ − 2ℓ₀;  H ← (1 − α)H + α·Δ/(2ε²)·H∘(u² − 1);  θ ← θ − η·s·H^(−1/2)∘u",
  decisions: [
    "The −1 is on, which makes H unbiased for diag(∇²L); reference = 1 drops it and takes |Δ|, as released: (d + 2)/2 times too large.",
    "H is held above 1e-8; α/(2ε²) is one fp32 number (in fp16, as released, it underflows and H never moves).",
    "The released program's fourth forward, for its log, is not made.",
  ],
  published: "α 1e-8 (full, prefix) or 1e-6 (LoRA), η and ε as MeZO's; α 0, the released default, is MeZO",
  options: { smoothing: z.number().min(0).max(1).default(1e-8), reference: flag(0) },
  defaults: { adapter: { learningRate: 1e-3, epsilon: 1e-2 }, full: { learningRate: 1e-5, epsilon: 1e-3 } },
  // Curvature is seen through u² − 1, which is 0 for signs.
  noises: ["gaussian", "sphere"],
  estimator: ({ reference }) => threePoint({ absolute: reference === 1 }),
  rule: () => ({
    states: { h: { initial: 1 } },
    direction: div(input("z"), sqrt(h)),
    apply: { h: fresh, weight: sub(input("weight"), mul(scalar("learningRate"), div(input("g"), sqrt(fresh)))) },
  }),
  scalars: ({ smoothing, reference }, { learningRate, update: { curvature } }) => ({
    learningRate,
    keep: 1 - smoothing,
    smoothing,
    correction: reference === 1 ? 0 : curvature.reduce((sum, { scale }) => sum + scale, 0),
  }),
});
