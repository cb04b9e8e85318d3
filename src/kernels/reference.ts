import { type Expr, nodesOf } from "./expr.js";
import { operations } from "./operations.js";

type Buffers = Readonly<Record<string, Float32Array>>;

/**
 * The rule that `compileRule` compiles, in plain TypeScript: the same fp32 operations in the same order, so the same bits (one
 * NaN is as good as another). For tests, and for functions too small to be worth a kernel.
 *
 * @returns a function on `n` elements of named arrays: inputs, and outputs that are written (they may be the same arrays)
 */
export const reference = (outputs: Readonly<Record<string, Expr>>) => {
  const nodes = nodesOf(Object.values(outputs));
  const place = new Map(nodes.map((node, i) => [node, i]));
  const placeOf = (node: Expr | undefined): number => (node === undefined ? 0 : (place.get(node) ?? 0));
  const evaluate = (
    node: Expr,
    i: number,
    values: Float32Array,
    buffers: Buffers,
    scalars: Readonly<Record<string, number>>,
  ) => {
    if (node.kind === "constant") return node.value;
    if (node.kind === "input") return buffers[node.name]?.[i] ?? Number.NaN;
    if (node.kind !== "operation") return scalars[node.name] ?? Number.NaN;
    const [a, b, c, d] = node.operands.map((operand) => values[placeOf(operand)] ?? Number.NaN);
    return operations[node.operator].value(a ?? 0, b ?? 0, c ?? 0, d ?? 0);
  };
  return (n: number, buffers: Buffers, scalars: Readonly<Record<string, number>>): void => {
    // A Float32Array rounds each operation's result to fp32.
    const values = new Float32Array(nodes.length);
    for (let i = 0; i < n; i++) {
      for (const [at, node] of nodes.entries()) values[at] = evaluate(node, i, values, buffers, scalars);
      for (const [name, expr] of Object.entries(outputs)) {
        const out = buffers[name];
        if (out !== undefined) out[i] = values[placeOf(expr)] ?? Number.NaN;
      }
    }
  };
};
