import { z } from "zod";
import { twoSided } from "../../src/estimator/two-sided.js";
import { add, constant, input, mul, scalar, sub, where } from "../../src/kernels/expr.js";
import { defineOptimizer } from "../../src/optimizer/optimizer.js";

const [g, m, zero] = [input("g"), input("m"), constant(0)];
const mixed = (beta: number) => add(mul(constant(beta), m), mul(constant(1 - beta), g));

/** Lion (arXiv 2302.06675, algorithm 2) on the two-sided estimate: steps of one length along the sign of a running mean. One state. */
export const zoLion = defineOptimizer({
  name: "zo-lion",
  paper: "arXiv 2302.06675",
  summary: "the sign of a running mean: steps of a length that no loss's scale changes",
  formula: "c = β₁m + (1 − β₁)g;  m ← β₂m + (1 − β₂)g;  θ ← θ − η·sign(c)",
  decisions: ["The paper has exact gradients; its rule is taken as it is."],
  published: "β 0.9 and 0.99; η a third to a tenth of Adam's",
  options: {
    beta1: z.number().min(0).lt(1).default(0.9),
    beta2: z.number().min(0).lt(1).default(0.99),
  },
  defaults: { adapter: { learningRate: 1e-4, epsilon: 1e-2 }, full: { learningRate: 1e-6, epsilon: 1e-3 } },
  noises: ["gaussian", "rademacher", "sphere"],
  anyEstimator: true,
  estimator: () => twoSided,
  rule({ beta1, beta2 }) {
    const c = mixed(beta1);
    const sign = where({ lt: [zero, c] }, constant(1), where({ lt: [c, zero] }, constant(-1), zero));
    return {
      states: { m: { initial: 0 } },
      apply: { m: mixed(beta2), weight: sub(input("weight"), mul(scalar("learningRate"), sign)) },
    };
  },
});
