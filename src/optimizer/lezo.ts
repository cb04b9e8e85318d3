import { z } from "zod";
import { twoSided } from "../estimator/two-sided.js";
import { defineOptimizer, descend } from "./optimizer.js";

/**
 * LeZO (arXiv 2410.09823): each step leaves a fraction `drop` of the blocks at rest, chosen from the step's key; embeddings, the last norm
 * and the head always move. The walks of a step cost as much less.
 */
export const lezo = defineOptimizer({
  name: "lezo",
  paper: "arXiv 2410.09823",
  summary: "MeZO on a few blocks a step: shorter walks over the weights",
  formula: "ẑ = z on the blocks of the step, 0 on ⌊drop·ℓ⌋ others;  θ ← θ − η·s·ẑ",
  decisions: [
    "Blocks are chosen by a stream of their own, so that the noise of a tensor does not depend on the choice.",
  ],
  published: "drop about 0.75 (OPT-13B: 30 of 40 blocks); otherwise as MeZO, with a larger η",
  options: { drop: z.number().min(0).lt(1).default(0.75) },
  defaults: { adapter: { learningRate: 2e-3, epsilon: 1e-2 }, full: { learningRate: 3e-5, epsilon: 1e-3 } },
  noises: ["gaussian", "rademacher", "sphere"],
  anyEstimator: true,
  estimator: () => twoSided,
  subspace: ({ drop }) => ({ kind: "layers", drop }),
  rule: () => descend,
});
