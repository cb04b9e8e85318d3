import type { Value } from "../graph/ir.js";
import type { Parts } from "./family.js";

type HeadParts = Pick<Parts, "g" | "rows" | "project">;

/** What is computed from the hidden states h [P, hidden] and the head's matrix [V, hidden]. */
const heads = {
  /** Every logit: [P, V]. */
  logits: ({ project }: HeadParts, h: Value, matrix: string) => project(matrix, h),
  /** log p of the target token of each place, [P]: its logit less the log of the sum over the vocabulary. */
  tokens({ g, project }: HeadParts, h: Value, matrix: string) {
    const targets = g.input("targets", "int32", ["P"]);
    const logits = project(matrix, h);
    const total = g.op("ReduceLogSumExp", [logits, g.constant([-1])], { keepdims: 1 }, "normaliser");
    const chosen = g.op("GatherElements", [logits, g.reshape(targets, [-1, 1])], { axis: 1 }, "chosen");
    return g.reshape(g.op("Sub", [chosen, total], {}, "log_probability"), [-1]);
  },
  /** The logits of a few tokens alone: [P, C]. Enough for options of one token each, whose normaliser cancels. */
  columns({ g, rows }: HeadParts, h: Value, matrix: string) {
    return g.op("Gemm", [h, rows(matrix, g.input("columns", "int32", ["C"]))], { transB: 1 }, "logits");
  },
} satisfies Readonly<Record<string, (parts: HeadParts, h: Value, matrix: string) => Value>>;

export type Head = keyof typeof heads;

/** Adds a head to a graph: its output value. */
export const headOutput = (parts: HeadParts, head: Head, hidden: Value, matrix: string): Value =>
  heads[head](parts, hidden, matrix);
