import { z } from "zod";
import { oneSided } from "../estimator/one-sided.js";
import { add, constant, div, input, mul, scalar, sqrt, sub } from "../kernels/expr.js";
import { defineOptimizer } from "./optimizer.js";

const k = input("k");
/** The estimate along the preconditioned direction. */
const estimate = div(input("g"), sqrt(k));

/**
 * DeComFL's adaptive form (arXiv 2405.15861, its program's "Adam-forward"): directions z/√K with K ← βK + (1 − β)·ĝ², K₀ = 1, from forward
 * differences. K is rebuilt from keys and scalars as everything else is.
 */
export const adamForward = defineOptimizer({
  name: "adam-forward",
  paper: "arXiv 2405.15861",
  summary: "directions shaped by the size of past estimates: one state, forward differences",
  formula: "perturb along z/√K;  ĝ = s·z/√K;  K ← βK + (1 − β)·ĝ²;  θ ← θ − η·ĝ",
  decisions: ["The direction and the step use the K before the update."],
  published: "β 0.95; OPT-125M: η 1e-5, ε 1e-3, P 5",
  options: { beta: z.number().min(0).lt(1).default(0.95) },
  preset: { queries: 5 },
  defaults: { adapter: { learningRate: 1e-3, epsilon: 1e-2 }, full: { learningRate: 1e-5, epsilon: 1e-3 } },
  noises: ["gaussian", "rademacher", "sphere"],
  anyEstimator: true,
  estimator: () => oneSided,
  rule: ({ beta }) => ({
    states: { k: { initial: 1 } },
    direction: div(input("z"), sqrt(k)),
    apply: {
      k: add(mul(constant(beta), k), mul(constant(1 - beta), mul(estimate, estimate))),
      weight: sub(input("weight"), mul(scalar("learningRate"), estimate)),
    },
  }),
  scalars: (_, { learningRate }) => ({ learningRate }),
});
