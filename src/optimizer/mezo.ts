import { twoSided } from "../estimator/two-sided.js";
import { defineOptimizer, descend } from "./optimizer.js";

/**
 * MeZO: zeroth-order SGD on the two-sided estimate, θ ← (1 − ηλ)·θ − η·g (arXiv 2305.17333, algorithm 1; decay applied
 * before the noise step and not to one-dimensional tensors). No state.
 */
export const mezo = defineOptimizer({
  name: "mezo",
  paper: "arXiv 2305.17333",
  summary: "two forwards and no state: the baseline of the field",
  formula: "s = (L(θ + εz) − L(θ − εz)) / 2ε;  θ ← (1 − ηλ)·θ − η·s·z",
  decisions: [
    "All queries of a step share its rows (the paper draws new ones for each).",
    "Weight decay skips one-dimensional tensors (the two released programs differ).",
  ],
  published:
    "OPT: full η 1e-6 or 1e-7, ε 1e-3; LoRA η 1e-4 or 5e-5, ε 1e-2; prefix η 1e-2 or 1e-3, ε 1e-1; batch 16, 20,000 steps",
  options: {},
  defaults: { adapter: { learningRate: 1e-3, epsilon: 1e-2 }, full: { learningRate: 1e-5, epsilon: 1e-3 } },
  noises: ["gaussian", "rademacher", "sphere"],
  anyEstimator: true,
  estimator: () => twoSided,
  rule: () => descend,
});
