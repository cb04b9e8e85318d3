import { z } from "zod";
import { twoSided } from "../estimator/two-sided.js";
import { add, constant, input, mul, scalar, sub, where } from "../kernels/expr.js";
import type { Layout } from "../kernels/program.js";
import { defineOptimizer, sidesOf, type TensorShape } from "./optimizer.js";

/** Selected lines of the shorter side, `rank` at most. */
const linesOf =
  (rank: number) =>
  (tensor: TensorShape): Layout => {
    const { rows, columns } = sidesOf(tensor);
    const axis = rows <= columns ? "row" : "column";
    return { kind: "lines", axis, count: Math.min(rank, axis === "row" ? rows : columns) };
  };

export const lineOptions = {
  beta1: z.number().min(0).lt(1).default(0.9),
  rank: z.int().min(0).default(128),
  chooseEvery: z.int().min(1).default(200),
};
type LineOptions = z.output<z.ZodObject<typeof lineOptions>>;

export const lineDecision =
  "Momentum starts from 0 with each choice of lines, and is corrected by the steps since; what is on no line is plain SGD (the released program corrects it too).";

/** A step of momentum on the selected lines and of the gradient elsewhere: the states it needs, and their new values. */
export const onLines = ({ beta1, rank, chooseEvery }: LineOptions) => {
  const [g, m] = [input("g"), input("m")];
  const next = add(mul(constant(beta1), m), mul(constant(1 - beta1), g));
  return {
    states: { m: { initial: 0, layout: linesOf(rank) } },
    chooseEvery,
    step: where({ eq: [input("selected"), constant(1)] }, mul(next, scalar("correction")), g),
    apply: { m: next },
  };
};

export const lineScalars = ({ beta1, chooseEvery }: LineOptions, step: number) => ({
  correction: 1 / (1 - beta1 ** ((step % chooseEvery) + 1)),
});

/**
 * Subspace-Momentum (arXiv 2411.07120) on zeroth-order gradients: m ← β₁m + (1 − β₁)·Pg on `rank` lines of the shorter side, chosen every
 * `chooseEvery` steps; plain SGD on the others.
 */
export const subspaceMomentum = defineOptimizer({
  name: "subspace-momentum",
  paper: "arXiv 2411.07120",
  summary: "momentum on a few lines of each matrix, plain SGD on the others",
  formula: "m ← β₁m + (1 − β₁)·Pg;  θ ← θ − η·(Pᵀm̂ + g − PᵀPg), P a choice of rows or columns",
  decisions: [
    "P chooses lines at random, one of the published projectors; an SVD of a zeroth-order gradient would find its noise.",
    lineDecision,
  ],
  published: "β₁ 0.9, rank 128, choice every 200 steps",
  options: lineOptions,
  defaults: { adapter: { learningRate: 1e-3, epsilon: 1e-2 }, full: { learningRate: 1e-5, epsilon: 1e-3 } },
  noises: ["gaussian", "rademacher", "sphere"],
  anyEstimator: true,
  estimator: () => twoSided,
  rule(options) {
    const { step, apply, ...rest } = onLines(options);
    return { ...rest, apply: { ...apply, weight: sub(input("weight"), mul(scalar("learningRate"), step)) } };
  },
  scalars: (options, { learningRate, step }) => ({ learningRate, ...lineScalars(options, step) }),
});
