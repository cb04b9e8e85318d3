import { z } from "zod";
import { twoSided } from "../estimator/two-sided.js";
import { add, constant, div, input, max, mul, scalar, sub } from "../kernels/expr.js";
import { defineOptimizer } from "./optimizer.js";

const g = input("g");
const m = add(mul(scalar("keepMomentum"), input("m")), mul(scalar("anneal"), g));
// In the steps between refreshes keepCurvature is 1 and freshCurvature 0.
const h = add(mul(scalar("keepCurvature"), input("h")), mul(scalar("freshCurvature"), mul(g, g)));

/**
 * HELENE (arXiv 2411.10696): momentum of an annealed weight over a curvature that is clipped from below, layer by layer.
 * m ← β₁m + α_t·g with α_t = β₁ + (1 − β₁)·e^(−t/T); every k steps h ← β₂h + (1 − β₂)·B·g∘g (the A-GNB estimate, with g the zeroth-order
 * gradient); θ ← θ − η·m / (γ·max(h, λ_ℓ) + ϵ). Two states.
 */
export const helene = defineOptimizer({
  name: "helene",
  paper: "arXiv 2411.10696",
  summary: "annealed momentum over a clipped curvature: large, steady steps",
  formula: "m ← β₁m + α_t·g;  h ← β₂h + (1 − β₂)·B·g² every k steps;  θ ← θ − η·m / (γ·max(h, λ_ℓ) + ϵ)",
  decisions: [
    "No program was released; the curvature is B·g∘g of the zeroth-order estimate on the step's rows.",
    "λ_ℓ runs evenly from floor at the first block to floor · floorRatio at the last; what is in no block takes the first's.",
  ],
  published: "β₁ 0.9, β₂ about 0.99, k about 10 (from memory); λ_ℓ not recovered",
  options: {
    beta1: z.number().min(0).lt(1).default(0.9),
    beta2: z.number().min(0).lt(1).default(0.99),
    period: z.int().min(1).default(10),
    gamma: z.number().positive().default(1),
    floor: z.number().min(0).default(1),
    floorRatio: z.number().positive().default(1),
    stability: z.number().min(0).default(1e-8),
  },
  defaults: { adapter: { learningRate: 1e-4, epsilon: 1e-2 }, full: { learningRate: 1e-6, epsilon: 1e-3 } },
  noises: ["gaussian", "rademacher", "sphere"],
  anyEstimator: true,
  horizon: true,
  estimator: () => twoSided,
  rule: ({ gamma, stability }) => ({
    states: { m: { initial: 0 }, h: { initial: 0 } },
    apply: {
      m,
      h,
      weight: sub(
        input("weight"),
        mul(scalar("learningRate"), div(m, add(mul(constant(gamma), max(h, scalar("floor"))), constant(stability)))),
      ),
    },
  }),
  scalars({ beta1, beta2, period, floor }, { learningRate, step, steps, batchSize }) {
    const refresh = step % period === 0;
    return {
      learningRate,
      keepMomentum: beta1,
      anneal: beta1 + (1 - beta1) * Math.exp(-step / steps),
      keepCurvature: refresh ? beta2 : 1,
      freshCurvature: refresh ? (1 - beta2) * batchSize : 0,
      floor,
    };
  },
  // No power: these numbers are not journaled, and powers differ between engines.
  tensorScalars: ({ floor, floorRatio }, { layer = 0, layers }) =>
    floorRatio === 1 || layers < 2 ? {} : { floor: floor * (1 + ((floorRatio - 1) * layer) / (layers - 1)) },
});
