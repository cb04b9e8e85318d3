import { conservative } from "../estimator/conservative.js";
import { defineOptimizer, descend } from "./optimizer.js";

/** ZO-SGD-Cons of ZO-Bench (arXiv 2402.11592): of θ, θ − ηg and θ + ηg, the best on the step's rows. Five forwards, no state. */
export const zoConservative = defineOptimizer({
  name: "zo-conservative",
  paper: "arXiv 2402.11592",
  summary: "never takes a step that raises the loss on its own rows",
  formula: "θ ← argmin of L over {θ, θ − ηg, θ + ηg}",
  decisions: [
    "Ties and losses that are not numbers keep θ (the released program stays at the last point tried).",
    "Plain SGD: the released sweeps ran it under AdamW, where moving back does not undo a step.",
  ],
  published: "swept under AdamW by mistake: no rate that carries over",
  options: {},
  plain: true,
  defaults: { adapter: { learningRate: 1e-3, epsilon: 1e-2 }, full: { learningRate: 1e-5, epsilon: 1e-3 } },
  noises: ["gaussian", "rademacher", "sphere"],
  estimator: () => conservative,
  rule: () => descend,
});
