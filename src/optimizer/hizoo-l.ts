import { z } from "zod";
import { threePoint } from "../estimator/three-point.js";
import { add, constant, div, input, max, mul, scalar, sqrt, sub } from "../kernels/expr.js";
import type { Layout } from "../kernels/program.js";
import { elementsOf } from "../model/weights.js";
import { defineOptimizer, flag, sidesOf, type TensorShape } from "./optimizer.js";

const [row, column, mean] = ["row", "column", "mean"].map(input) as [
  ReturnType<typeof input>,
  ReturnType<typeof input>,
  ReturnType<typeof input>,
];
const h = div(mul(row, column), mean);
const estimate = mul(h, sub(input("zz"), scalar("correction")));
/** The new value of a statistic whose old one is `state` and whose fresh one is the mean of the estimate over what it stands for. */
const smoothed = (state: typeof h, sum: string) =>
  max(add(mul(scalar("keep"), state), mul(scalar("smoothing"), input(sum))), constant(1e-8));

const perRow = (tensor: TensorShape): Layout => ({ kind: "chunk", size: sidesOf(tensor).columns });
const perColumn = (): Layout => ({ kind: "column" });
const perTensor = ({ shape }: TensorShape): Layout => ({ kind: "chunk", size: Math.max(1, elementsOf(shape)) });

/**
 * HiZOO-L (arXiv 2402.15173): HiZOO with the curvature of a matrix in factors, as Adafactor stores second moments: row and column
 * means r and c of the estimate, and H = r·cᵀ / mean. m + n + 1 numbers for a matrix of m × n; a vector keeps all of its own.
 */
export const hizooL = defineOptimizer({
  name: "hizoo-l",
  paper: "arXiv 2402.15173",
  summary: "HiZOO's curvature in rows and columns: next to no memory",
  formula: "r, c ← running means of HiZOO's estimate over rows and columns;  H = r·cᵀ / mean;  θ ← θ − η·s·H^(−1/2)∘u",
  decisions: [
    "No program was released; the factors are Adafactor's, with means in place of sums.",
    "The −1 and the floor are as in hizoo; reference = 1 drops the −1 and takes |Δ|.",
  ],
  published: "as HiZOO's",
  options: { smoothing: z.number().min(0).max(1).default(1e-8), reference: flag(0) },
  defaults: { adapter: { learningRate: 1e-3, epsilon: 1e-2 }, full: { learningRate: 1e-5, epsilon: 1e-3 } },
  noises: ["gaussian", "sphere"],
  estimator: ({ reference }) => threePoint({ absolute: reference === 1 }),
  rule: () => ({
    states: {
      row: { initial: 1, layout: perRow },
      column: { initial: 1, layout: perColumn },
      mean: { initial: 1, layout: perTensor },
    },
    direction: div(input("z"), sqrt(h)),
    reduce: {
      rows: { of: estimate, like: "row", mean: true },
      columns: { of: estimate, like: "column", mean: true },
      all: { of: estimate, like: "mean", mean: true },
    },
    summaries: { row: smoothed(row, "rows"), column: smoothed(column, "columns"), mean: smoothed(mean, "all") },
    apply: { weight: sub(input("weight"), mul(scalar("learningRate"), div(input("g"), sqrt(h)))) },
  }),
  scalars: ({ smoothing, reference }, { learningRate, update: { curvature } }) => ({
    learningRate,
    keep: 1 - smoothing,
    smoothing,
    correction: reference === 1 ? 0 : curvature.reduce((sum, { scale }) => sum + scale, 0),
  }),
});
