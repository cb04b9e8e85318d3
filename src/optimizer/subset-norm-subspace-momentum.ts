import { twoSided } from "../estimator/two-sided.js";
import { defineOptimizer } from "./optimizer.js";
import { bySubset, subsetDecision, subsetOptions, subsetScalars } from "./subset-norm.js";
import { lineDecision, lineOptions, lineScalars, onLines } from "./subspace-momentum.js";

/** Subset-Norm over Subspace-Momentum (arXiv 2411.07120): θ ← θ − η·(Pᵀm̂ + g − PᵀPg) / (√v̂ + ϵ). */
export const subsetNormMomentum = defineOptimizer({
  name: "subset-norm-subspace-momentum",
  paper: "arXiv 2411.07120",
  summary: "both: momentum on a few lines, a step size for a row",
  formula: "θ ← θ − η·(Pᵀm̂ + g − PᵀPg) / (√v̂_j + ϵ)",
  decisions: [subsetDecision, lineDecision],
  published: "β 0.9 and 0.999, ϵ 1e-6, rank 128, choice every 200 steps; Llama-60M: η 5e-2",
  options: { ...subsetOptions, ...lineOptions },
  defaults: { adapter: { learningRate: 3e-3, epsilon: 1e-2 }, full: { learningRate: 3e-5, epsilon: 1e-3 } },
  noises: ["gaussian", "rademacher", "sphere"],
  anyEstimator: true,
  estimator: () => twoSided,
  rule(options) {
    const { step, states, apply, chooseEvery } = onLines(options);
    const scaled = bySubset(step, options);
    return {
      ...scaled,
      chooseEvery,
      states: { ...scaled.states, ...states },
      apply: { ...scaled.apply, ...apply },
    };
  },
  scalars: (options, { learningRate, step }) => ({
    learningRate,
    ...subsetScalars(options, step),
    ...lineScalars(options, step),
  }),
});
