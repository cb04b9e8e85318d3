import type { Builder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";
import { type HeadPlan, moduleOf, type Parts } from "./family.js";
import { capped } from "./layers/attention.js";
import { biased } from "./layers/bias.js";

type HeadParts = Pick<Parts, "g" | "weight" | "rows" | "project" | "shift" | "adapt">;

/** What is computed from the hidden states h [P, hidden] and the head's matrix [V, hidden]. */
const heads = {
  /** Every logit: [P, V]. */
  logits(
    { g, project, adapt = (_, __, output) => output }: HeadParts,
    h: Value,
    { weight, bias, cap }: HeadPlan,
  ): Value {
    return capped(g, adapt(moduleOf({ name: weight }), h, project(weight, h, bias)), cap);
  },
  /** log p of the target token of each place, [P]: its logit less the log of the sum over the vocabulary. */
  tokens(parts: HeadParts, h: Value, plan: HeadPlan): Value {
    const { g } = parts;
    const targets = g.input("targets", "int32", ["P"]);
    const logits = heads.logits(parts, h, plan);
    const total = g.op("ReduceLogSumExp", [logits, g.constant([-1])], { keepdims: 1 }, "normaliser");
    const chosen = g.op("GatherElements", [logits, g.reshape(targets, [-1, 1])], { axis: 1 }, "chosen");
    return g.reshape(g.op("Sub", [chosen, total], {}, "log_probability"), [-1]);
  },
  /** The logits of a few tokens alone: [P, C]. Enough for options of one token each, whose normaliser cancels. */
  columns(parts: HeadParts, h: Value, plan: HeadPlan): Value {
    const { g, rows } = parts;
    const { weight: matrix, bias, cap, few = false } = plan;
    const columns = g.input("columns", "int32", ["C"]);
    if (few) return g.op("Gather", [heads.logits(parts, h, plan), columns], { axis: 1 }, "columns_of");
    const layer = (biases: readonly Value[] = []) =>
      g.op("Gemm", [h, rows(matrix, columns), ...biases], { transB: 1 }, "logits");
    return capped(g, bias === undefined ? layer() : biased(parts, bias, layer, columns), cap);
  },
} satisfies Readonly<Record<string, (parts: HeadParts, h: Value, plan: HeadPlan) => Value>>;

export type Head = keyof typeof heads;

/** The same of logits [P, V] that a graph gives: log-softmax, which every version of ONNX's operators has. */
export const headOfLogits = (g: Builder, head: Head, logits: Value): Value => {
  if (head === "logits") return logits;
  if (head === "columns")
    return g.op("Gather", [logits, g.input("columns", "int32", ["C"])], { axis: 1 }, "columns_of");
  const targets = g.reshape(g.input("targets", "int32", ["P"]), [-1, 1]);
  const chances = g.op("LogSoftmax", [logits], { axis: 1 }, "log_probabilities");
  return g.reshape(g.op("GatherElements", [chances, targets], { axis: 1 }, "chosen"), [-1]);
};

/** Adds a head to a graph: its output value. */
export const headOutput = (parts: HeadParts, head: Head, hidden: Value, plan: HeadPlan): Value =>
  heads[head](parts, hidden, plan);
