import type { Builder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";

/** What is computed from the hidden states h [P, hidden] and the head's weight W [V, hidden]. */
const heads = {
  /** Every logit: [P, V]. */
  logits: (g: Builder, h: Value, weight: Value) => g.op("Gemm", [h, weight], { transB: 1 }, "logits"),
  /** log p of the target token of each place, [P]: its logit less the log of the sum over the vocabulary. */
  tokens(g: Builder, h: Value, weight: Value) {
    const targets = g.input("targets", "int32", ["P"]);
    const logits = g.op("Gemm", [h, weight], { transB: 1 }, "logits");
    const total = g.op("ReduceLogSumExp", [logits, g.constant([-1])], { keepdims: 1 }, "normaliser");
    const chosen = g.op("GatherElements", [logits, g.reshape(targets, [-1, 1])], { axis: 1 }, "chosen");
    return g.reshape(g.op("Sub", [chosen, total], {}, "log_probability"), [-1]);
  },
  /** The logits of a few tokens alone: [P, C]. Enough for options of one token each, whose normaliser cancels. */
  columns(g: Builder, h: Value, weight: Value) {
    const columns = g.input("columns", "int32", ["C"]);
    return g.op("Gemm", [h, g.op("Gather", [weight, columns], {}, "column_weights")], { transB: 1 }, "logits");
  },
} satisfies Readonly<Record<string, (g: Builder, h: Value, weight: Value) => Value>>;

export type Head = keyof typeof heads;

/** Adds a head to a graph: its output value. */
export const headOutput = (g: Builder, head: Head, hidden: Value, weight: Value): Value =>
  heads[head](g, hidden, weight);
