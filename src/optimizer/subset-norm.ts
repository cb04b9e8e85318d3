import { z } from "zod";
import { twoSided } from "../estimator/two-sided.js";
import { add, constant, div, type Expr, input, mul, scalar, sqrt, sub } from "../kernels/expr.js";
import type { Layout } from "../kernels/program.js";
import { defineOptimizer, type Rule, sidesOf, type TensorShape } from "./optimizer.js";

/** The largest divisor of `count` that is at most `most`. */
const divisorBelow = (count: number, most: number): number => {
  let divisor = Math.max(1, Math.min(Math.floor(most), count));
  while (count % divisor !== 0) divisor--;
  return divisor;
};

/** One value for a line of the longer side; or for `subset` neighbours, ⌊√(mn)/−subset⌋ where it is negative. */
const subsetOf =
  (subset: number) =>
  (tensor: TensorShape): Layout => {
    const { rows, columns } = sidesOf(tensor);
    if (subset === 0) return rows >= columns ? { kind: "chunk", size: columns } : { kind: "column" };
    const size = subset > 0 ? subset : Math.sqrt(rows * columns) / -subset;
    return { kind: "chunk", size: divisorBelow(rows * columns, size) };
  };

export const subsetOptions = {
  beta2: z.number().min(0).max(1).default(0.999),
  stability: z.number().min(0).default(1e-6),
  subset: z.int().default(0),
};
export const subsetDecision = "The statistic is a sum, as released: η grows by about √(subset size) against Adam's.";

/** `step` over the square root of its subset's second moment. */
export const bySubset = (step: Expr, { subset, stability }: { subset: number; stability: number }): Rule => {
  const g = input("g");
  const spread = add(sqrt(mul(input("v"), scalar("secondCorrection"))), constant(stability));
  return {
    states: { v: { initial: 0, layout: subsetOf(subset) } },
    reduce: { squares: { of: mul(g, g), like: "v" } },
    summaries: { v: add(mul(scalar("keepSecond"), input("v")), mul(scalar("freshSecond"), input("squares"))) },
    apply: { weight: sub(input("weight"), mul(scalar("learningRate"), div(step, spread))) },
  };
};

/** β₂ = 1 is AdaGrad: a plain sum, and no correction. */
export const subsetScalars = ({ beta2 }: { beta2: number }, step: number) => ({
  keepSecond: beta2,
  freshSecond: beta2 === 1 ? 1 : 1 - beta2,
  secondCorrection: beta2 === 1 ? 1 : 1 / (1 - beta2 ** (step + 1)),
});

/** Subset-Norm (arXiv 2411.07120) on zeroth-order gradients: v_j ← β₂v_j + (1 − β₂) Σ_{i∈Π_j} g_i²; θ ← θ − η·g / (√v̂_j + ϵ). */
export const subsetNorm = defineOptimizer({
  name: "subset-norm",
  paper: "arXiv 2411.07120",
  summary: "one adaptive step size for a row of weights: Adam's scale without its memory",
  formula: "v_j ← β₂v_j + (1 − β₂) Σ g_i² over subset j;  θ ← θ − η·g / (√v̂_j + ϵ)",
  decisions: [subsetDecision, "Vectors keep a value for each element, as Adam would."],
  published: "β₂ 0.999, ϵ 1e-6; Llama-60M: η 1e-2 without momentum",
  options: subsetOptions,
  defaults: { adapter: { learningRate: 3e-3, epsilon: 1e-2 }, full: { learningRate: 3e-5, epsilon: 1e-3 } },
  noises: ["gaussian", "rademacher", "sphere"],
  anyEstimator: true,
  estimator: () => twoSided,
  rule: (options) => bySubset(input("g"), options),
  scalars: (options, { learningRate, step }) => ({ learningRate, ...subsetScalars(options, step) }),
});
