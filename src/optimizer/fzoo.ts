import { normalised } from "../estimator/normalised.js";
import { defineOptimizer, descend, flag } from "./optimizer.js";

/**
 * FZOO (arXiv 2506.09034): θ ← θ − η·g/σ on a one-sided batch of N sign directions, σ the spread of its losses. For a smooth loss the step has
 * length about η/ε whatever the gradient's: normalised SGD. reuse = 1 is FZOO-R.
 */
export const fzoo = defineOptimizer({
  name: "fzoo",
  paper: "arXiv 2506.09034",
  summary: "steps of even length from one-sided batches of cheap directions",
  formula: "g = (1/εN) Σ (ℓᵢ − ℓ₀)·uᵢ;  σ = std(ℓ₁ … ℓ_N);  θ ← θ − η·g/σ",
  decisions: [
    "σ has divisor N − 1, and 1/ε is written out; reference = 1 is the released form, whose η is (η/ε)·√((N − 1)/N) of this one.",
    "Losses that are all equal give no step (the released program divides by 0).",
    "FZOO-R, which the released program lacks: half the losses are fresh, and σ is taken over them and as many of the last step's.",
  ],
  published: "N 8; OPT-13B η 5e-5, ε 1e-4 in the released form: η 5.3e-9 in this one",
  options: { reference: flag(0), reuse: flag(0) },
  preset: { queries: 8 },
  defaults: { adapter: { learningRate: 3e-5, epsilon: 3e-3 }, full: { learningRate: 4e-6, epsilon: 1e-3 } },
  noises: ["rademacher", "gaussian"],
  estimator: ({ reference, reuse }) => normalised({ reference: reference === 1, reuse: reuse === 1 }),
  rule: () => descend,
});
