import { z } from "zod";
import { twoSided } from "../estimator/two-sided.js";
import { defineOptimizer, descend } from "./optimizer.js";

/**
 * Sparse-MeZO (arXiv 2402.15751): MeZO on the weights of small magnitude alone, where |W| ≤ τ_W; τ_W, a quantile of each tensor, is fixed
 * before training, and the mask follows the weights. One bit a weight, which the walks of a step share.
 */
export const sparseMezo = defineOptimizer({
  name: "sparse-mezo",
  paper: "arXiv 2402.15751",
  summary: "leaves large weights alone, which noise hurts most: bears a larger rate than MeZO",
  formula: "ẑ = m∘z with m = [|W| ≤ τ_W];  θ ← θ − η·s·ẑ",
  decisions: [
    "The magnitude is compared (the paper's pseudo-code compares the raw weight).",
    "Masks are read from unperturbed weights, once a step, so that all its walks share them.",
  ],
  published: "sparsity 0.75 to 0.8, otherwise as MeZO; stable at twice MeZO's rate",
  options: { sparsity: z.number().min(0).lt(1).default(0.75) },
  defaults: { adapter: { learningRate: 1e-3, epsilon: 1e-2 }, full: { learningRate: 2e-5, epsilon: 1e-3 } },
  noises: ["gaussian", "rademacher", "sphere"],
  anyEstimator: true,
  estimator: () => twoSided,
  subspace: ({ sparsity }) => ({ kind: "magnitude", sparsity }),
  rule: () => descend,
});
