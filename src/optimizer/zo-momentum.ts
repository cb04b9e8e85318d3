import { twoSided } from "../estimator/two-sided.js";
import { defineOptimizer, descend } from "./optimizer.js";

/** ZO-SGD-MMT of ZO-Bench (arXiv 2402.11592): buf ← μ·buf + g, θ ← θ − η·buf. One state. */
export const zoMomentum = defineOptimizer({
  name: "zo-momentum",
  paper: "arXiv 2402.11592",
  summary: "heavy-ball momentum: averages the noise of neighbouring steps",
  formula: "buf ← μ·buf + g;  θ ← θ − η·buf",
  decisions: ["No dampening, as the paper's optimizer has none; the option dampening = μ makes buf a running mean."],
  published: "μ 0.9; rates as ZO-SGD's",
  options: {},
  common: { momentum: 0.9 },
  defaults: { adapter: { learningRate: 1e-4, epsilon: 1e-2 }, full: { learningRate: 1e-6, epsilon: 1e-3 } },
  noises: ["gaussian", "rademacher", "sphere"],
  anyEstimator: true,
  estimator: () => twoSided,
  rule: () => descend,
});
