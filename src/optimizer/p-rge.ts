import { twoSided } from "../estimator/two-sided.js";
import { defineOptimizer, descend } from "./optimizer.js";

/**
 * P-RGE (MobiZO, arXiv 2409.15520): many queries on few rows, with LoRA's A frozen, so that queries and signs are rows of one batch and the
 * base model is read once for all of them. How many run together is --run-tokens; the losses are those of one after the other, to rounding.
 */
export const pRge = defineOptimizer({
  name: "p-rge",
  paper: "arXiv 2409.15520",
  summary: "many directions on few rows in one run of the model: for adapters with A frozen",
  formula: "ΔB = −(η/n) Σ sᵢ·zᵢ, all ± sides in one run;  rows · queries held at 16",
  decisions: ["Targets are what --targets says (the paper adapts q and v, the program all seven matrices of a block)."],
  published: "n 4 or 16 with 4 or 1 rows, rank 16, α 32, η 1e-4 (5e-5 at n 16), ε 1e-2",
  options: {},
  preset: { queries: 4, batchSize: 4, rank: 16, alpha: 32, freezeA: true },
  defaults: { adapter: { learningRate: 1e-3, epsilon: 1e-2 }, full: { learningRate: 1e-5, epsilon: 1e-3 } },
  noises: ["gaussian", "rademacher", "sphere"],
  estimator: () => twoSided,
  rule: () => descend,
  refuses: (_, { kind, freezeA }) =>
    kind === "lora" && freezeA ? undefined : "p-rge trains LoRA with its A frozen: give --method lora --freeze-a.",
});
