import { z } from "zod";
import { twoSided } from "../estimator/two-sided.js";
import { defineOptimizer, descend } from "./optimizer.js";

/** What LOZO and LOZO-M share. */
export const lozoDefinition = {
  paper: "arXiv 2410.07698",
  options: { rank: z.int().min(1).default(2), refreshEvery: z.int().min(1).default(50) },
  defaults: { adapter: { learningRate: 1e-3, epsilon: 1e-2 }, full: { learningRate: 1e-5, epsilon: 1e-3 } },
  noises: ["gaussian", "rademacher"] as ["gaussian", "rademacher"],
  anyEstimator: true,
  estimator: () => twoSided,
  subspace: ({ rank, refreshEvery }: { rank: number; refreshEvery: number }) =>
    ({ kind: "lozo", rank, refreshEvery }) as const,
  rule: () => descend,
};

/**
 * LOZO (arXiv 2410.07698): each matrix moves along U·Vᵀ, V kept for `refreshEvery` steps and U drawn anew in each. What is trained between
 * two refreshes is the core U-side [m, rank], a side path of the graph; at a refresh it is folded into the weights. ĝ = c·UVᵀ/r.
 */
export const lozo = defineOptimizer({
  ...lozoDefinition,
  name: "lozo",
  summary: "all weights at an adapter's price: low-rank noise in side paths",
  formula: "perturb by ε·UVᵀ;  W ← W − η·c·UVᵀ / r;  V drawn every ν steps",
  decisions: [
    "1/r is on, as in the paper (the released program leaves it out).",
    "Factors are keyed by tensor and step, so that the U of the update is the U that was perturbed (in the released program it is not at a refresh).",
  ],
  published:
    "OPT-13B: η 1e-6 or 1e-7 without 1/r (here: r times as much, 2e-6 or 2e-7 at rank 2), ε 1e-3, r 1 or 2, ν 50 or 100",
});
