import { twoSided } from "../estimator/two-sided.js";
import { defineOptimizer, descend } from "./optimizer.js";

/** ZO-SGD of ZO-Bench (arXiv 2402.11592, section 2.2.1): MeZO's update; momentum is an option. */
export const zoSgd = defineOptimizer({
  name: "zo-sgd",
  paper: "arXiv 2402.11592",
  summary: "MeZO by its other name, as ZO-Bench sweeps it",
  formula: "g = (1/q) Σ sᵢ·zᵢ;  θ ← θ − η·g",
  decisions: ["Weight decay works (the released benchmark ignores it for zeroth-order methods)."],
  published:
    "OPT-1.3B, SST-2: full η 1e-4 … 1e-8, ε 1e-3 … 1e-5; LoRA η 1e-3 … 1e-7, ε 1e-2 … 1e-4; batch 16, 20,000 steps",
  options: {},
  defaults: { adapter: { learningRate: 1e-3, epsilon: 1e-2 }, full: { learningRate: 1e-5, epsilon: 1e-3 } },
  noises: ["gaussian", "rademacher", "sphere"],
  anyEstimator: true,
  estimator: () => twoSided,
  rule: () => descend,
});
