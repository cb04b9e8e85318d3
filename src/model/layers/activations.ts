import type { Builder } from "../../graph/builder.js";
import type { Value } from "../../graph/ir.js";

type Activation = (g: Builder, x: Value) => Value;

const half = (g: Builder) => g.constant(Float32Array.of(0.5), [1]);
const one = (g: Builder) => g.constant(Float32Array.of(1), [1]);

/** x·Φ(x) by the error function. */
const gelu: Activation = (g, x) => {
  const erf = g.op("Erf", [g.op("Mul", [x, g.constant(Float32Array.of(Math.SQRT1_2), [1])])]);
  return g.op("Mul", [g.op("Mul", [x, half(g)]), g.op("Add", [erf, one(g)])]);
};

/** Its approximation: x/2·(1 + tanh(√(2/π)·(x + 0.044715x³))). */
const geluTanh: Activation = (g, x) => {
  const square = g.op("Mul", [x, x]);
  const inner = g.op("Add", [g.op("Mul", [square, g.constant(Float32Array.of(0.044715), [1])]), one(g)]);
  const scaled = g.op("Mul", [x, g.constant(Float32Array.of(Math.sqrt(2 / Math.PI)), [1])]);
  const tanh = g.op("Tanh", [g.op("Mul", [scaled, inner])]);
  return g.op("Mul", [g.op("Mul", [x, half(g)]), g.op("Add", [tanh, one(g)])]);
};

const silu: Activation = (g, x) => g.op("Mul", [x, g.op("Sigmoid", [x])]);

/** By the names that configurations have for them. */
export const activations = {
  silu,
  swish: silu,
  gelu,
  gelu_new: geluTanh,
  gelu_fast: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  relu: (g, x) => g.op("Relu", [x]),
  tanh: (g, x) => g.op("Tanh", [x]),
} satisfies Readonly<Record<string, Activation>>;

export type ActivationName = keyof typeof activations;
export const activationNames = Object.keys(activations) as [ActivationName, ...ActivationName[]];
