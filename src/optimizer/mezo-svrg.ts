import { z } from "zod";
import { anchored } from "../estimator/anchored.js";
import { defineOptimizer, descend } from "./optimizer.js";

/**
 * MeZO-SVRG (arXiv 2404.08080): zeroth-order estimates with an anchor as control variate. θ ← θ − η₂·[∇̄(θ) − ∇̄(θ̄) + g], and
 * θ ← θ − η₁·g at an anchor. The way back to the anchor is the updates since, so no second copy of the weights is kept.
 */
export const mezoSvrg = defineOptimizer({
  name: "mezo-svrg",
  paper: "arXiv 2404.08080",
  summary: "less variance from small batches: an estimate over many rows, kept and corrected",
  formula:
    "every q steps g ← ∇̄ over the anchor's rows, θ ← θ − η₁g;  else θ ← θ − η₂[∇̄(θ) − ∇̄(θ̄) + g], one direction for both",
  decisions: [
    "One direction for both estimates, and an anchor that stays (in the released program there are two directions, and the anchor follows θ).",
    "η₂ is --learning-rate; η₁ is anchorRate times it.",
  ],
  published:
    "q 2, ε 1e-3, batch 64, anchor of 512 rows; η₁ 1e-3 … 1e-5, η₂ 1e-5 or 1e-6; rates divided by 5 when a window's loss rises by 5 %",
  options: {
    period: z.int().min(1).default(2),
    anchorRate: z.number().positive().default(10),
    window: z.int().min(0).default(0),
    anneal: z.number().min(1).default(5),
  },
  plain: true,
  defaults: { adapter: { learningRate: 3e-4, epsilon: 1e-2 }, full: { learningRate: 1e-6, epsilon: 1e-3 } },
  noises: ["gaussian", "rademacher"],
  estimator: (options) => anchored(options),
  rule: () => descend,
});
