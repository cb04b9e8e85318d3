import { z } from "zod";
import { scheduled } from "../estimator/scheduled.js";
import { twoSided } from "../estimator/two-sided.js";
import { defineOptimizer, descend } from "./optimizer.js";

/**
 * AdaZeta (arXiv 2406.18060): two-sided estimates whose number of queries grows with the epochs, Q_k = min(⌊α·e^β⌋, Q_max), which keeps
 * late steps from diverging. Its tensor-train adapter is a method of its own.
 */
export const adazeta = defineOptimizer({
  name: "adazeta",
  paper: "arXiv 2406.18060",
  summary: "more queries as training goes on: steadier late steps",
  formula: "Q_k = min(⌊α·e^β⌋, Q_max), 1 at least;  θ ← θ − (η/Q_k) Σ sᵢ·zᵢ",
  decisions: ["The mean over queries, as in the program (the paper's formula has their sum)."],
  published: "α 0.85, β 0.45, Q_max 20 (Llama-2-7B); η 1e-4 or 5e-5, ε 1e-3",
  options: {
    alpha: z.number().positive().default(0.85),
    beta: z.number().min(0).default(0.45),
    most: z.int().min(1).default(20),
  },
  defaults: { adapter: { learningRate: 1e-3, epsilon: 1e-2 }, full: { learningRate: 1e-5, epsilon: 1e-3 } },
  noises: ["gaussian", "rademacher", "sphere"],
  estimator: (schedule) => scheduled(twoSided, schedule),
  rule: () => descend,
});
