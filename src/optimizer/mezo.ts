import { z } from "zod";
import { twoSided } from "../estimator/two-sided.js";
import { input, mul, scalar, sub } from "../kernels/expr.js";
import { defineOptimizer } from "./optimizer.js";

const options = z.strictObject({ weightDecay: z.number().min(0).default(0) });

/**
 * MeZO: zeroth-order SGD on the two-sided estimate, θ ← (1 − ηλ)·θ − η·g (arXiv 2305.17333, algorithm 1; decay applied
 * before the noise step and not to one-dimensional tensors). No state.
 */
export const mezo = defineOptimizer({
  name: "mezo",
  paper: "arXiv 2305.17333",
  summary: "two forwards and no state: the baseline of the field",
  estimator: twoSided,
  options,
  defaults: { adapter: { learningRate: 1e-3, epsilon: 1e-2 }, full: { learningRate: 1e-5, epsilon: 1e-3 } },
  noises: ["gaussian", "rademacher"],
  states: {},
  rule: { weight: sub(mul(input("weight"), scalar("decay")), mul(scalar("learningRate"), input("g"))) },
  scalars: ({ weightDecay }, learningRate) => ({ learningRate, decay: 1 - learningRate * weightDecay }),
  exempt: { decay: 1 },
});
