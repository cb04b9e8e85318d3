import { z } from "zod";
import { twoSided } from "../estimator/two-sided.js";
import { add, constant, div, input, mul, scalar, sqrt, sub } from "../kernels/expr.js";
import { defineOptimizer } from "./optimizer.js";

const g = input("g");
const decayed = (state: string, beta: number, by: typeof g) =>
  add(mul(constant(beta), input(state)), mul(constant(1 - beta), by));

/** ZO-Adam of ZO-Bench (arXiv 2402.11592): Adam on the zeroth-order estimate. Two states, in fp32 whatever the model's type. */
export const zoAdam = defineOptimizer({
  name: "zo-adam",
  paper: "arXiv 2402.11592",
  summary: "a step size for each weight, from the size of its estimates",
  formula: "m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;  θ ← θ − η·m̂ / (√v̂ + ϵ)",
  decisions: ["Moments in fp32: in fp16, as released, ϵ is 0 and v may stay 0."],
  published: "β 0.9 and 0.999, ϵ 1e-8; full η 1e-4 … 1e-8",
  options: {
    beta1: z.number().min(0).lt(1).default(0.9),
    beta2: z.number().min(0).lt(1).default(0.999),
    stability: z.number().min(0).default(1e-8),
  },
  defaults: { adapter: { learningRate: 3e-4, epsilon: 1e-2 }, full: { learningRate: 1e-6, epsilon: 1e-3 } },
  noises: ["gaussian", "rademacher", "sphere"],
  anyEstimator: true,
  estimator: () => twoSided,
  rule({ beta1, beta2, stability }) {
    const m = decayed("m", beta1, g);
    const v = decayed("v", beta2, mul(g, g));
    const length = add(sqrt(mul(v, scalar("secondCorrection"))), constant(stability));
    const step = div(mul(m, scalar("firstCorrection")), length);
    return {
      states: { m: { initial: 0 }, v: { initial: 0 } },
      apply: { m, v, weight: sub(input("weight"), mul(scalar("learningRate"), step)) },
    };
  },
  scalars: ({ beta1, beta2 }, { learningRate, step }) => ({
    learningRate,
    firstCorrection: 1 / (1 - beta1 ** (step + 1)),
    secondCorrection: 1 / (1 - beta2 ** (step + 1)),
  }),
});
