import { z } from "zod";
import { twoSided } from "../estimator/two-sided.js";
import { defineOptimizer, descend } from "./optimizer.js";

/**
 * SubZero (arXiv 2410.08989): each matrix moves along √(mn)/r · U·Z·Vᵀ, with orthonormal U and V kept for `refreshEvery` steps and Z [r, r] under
 * each key. What is trained between two refreshes is the core [r, r], a side path of the graph.
 */
export const subzero = defineOptimizer({
  name: "subzero",
  paper: "arXiv 2410.08989",
  summary: "all weights through small random subspaces: r² numbers a matrix at a time",
  formula: "P = √(mn)/r · U·Z·Vᵀ;  W ← W − η·s·P;  U and V drawn every T₀ steps",
  decisions: [
    "√(mn)/r is on, as in the released program: the estimate is then unbiased over subspaces.",
    "Adapters' matrices, which are far from square, are taken as nearly square ones, as released.",
  ],
  published:
    "rank 24, T₀ 1,000, η 1e-3, ε 1e-2 (OPT-1.3B, prompt tuning); full: rank 32 to 128, T₀ 500 to 2,000 (from memory)",
  options: { rank: z.int().min(1).default(8), refreshEvery: z.int().min(1).default(1000) },
  defaults: { adapter: { learningRate: 1e-3, epsilon: 1e-2 }, full: { learningRate: 1e-5, epsilon: 1e-3 } },
  noises: ["gaussian", "rademacher"],
  anyEstimator: true,
  estimator: () => twoSided,
  subspace: ({ rank, refreshEvery }) => ({ kind: "subzero", rank, refreshEvery }),
  rule: () => descend,
});
