import { twoSided } from "../estimator/two-sided.js";
import { constant, input, mul, scalar, sub, where } from "../kernels/expr.js";
import { defineOptimizer, descend, flag } from "./optimizer.js";

const [g, zero] = [input("g"), constant(0)];
const sign = where({ lt: [zero, g] }, constant(1), where({ lt: [g, zero] }, constant(-1), zero));

/**
 * ZO-SGD-Sign of ZO-Bench (arXiv 2402.11592). As the paper writes it, each weight moves by η against the sign of its estimate; as the
 * released program does it, the projected gradient's sign takes its place: θ ← θ − η·sign(s)·z.
 */
export const zoSign = defineOptimizer({
  name: "zo-sign",
  paper: "arXiv 2402.11592",
  summary: "steps of a length that no loss's scale changes",
  formula: "θ ← θ − η·sign(g), element by element;  with scalar = 1: θ ← θ − η·sign(s)·z",
  decisions: [
    "The paper's vector reading is the default; scalar = 1 is the released program's.",
    "Plain SGD behind it: the released sweeps ran it under AdamW, so their rates do not carry over.",
  ],
  published: "swept under AdamW by mistake: no rate that carries over",
  options: { scalar: flag(0) },
  defaults: { adapter: { learningRate: 1e-4, epsilon: 1e-2 }, full: { learningRate: 1e-6, epsilon: 1e-3 } },
  noises: ["gaussian", "rademacher", "sphere"],
  anyEstimator: true,
  estimator: () => twoSided,
  coefficient: ({ scalar: reading }) => (reading === 1 ? Math.sign : (value) => value),
  rule: ({ scalar: reading }) =>
    reading === 1
      ? descend
      : { states: {}, apply: { weight: sub(input("weight"), mul(scalar("learningRate"), sign)) } },
});
