/**
 * Straight-line fp32 arithmetic on one element: plain data, so it can be posted to where it is compiled. An expression used
 * twice by identity is computed once.
 */
export type Expr =
  | { readonly op: "input"; readonly name: string }
  | { readonly op: "scalar"; readonly name: string }
  | { readonly op: "constant"; readonly value: number }
  | { readonly op: Unary; readonly a: Expr }
  | { readonly op: Binary; readonly a: Expr; readonly b: Expr }
  | { readonly op: "where"; readonly test: Comparison; readonly a: Expr; readonly b: Expr; readonly then: Expr; readonly otherwise: Expr };

export type Unary = "neg" | "abs" | "sqrt";
export type Binary = "add" | "sub" | "mul" | "div" | "min" | "max";
export type Comparison = "lt" | "le" | "eq";

/** A value that each element has: a weight, a gradient, a state. */
export const input = (name: string): Expr => ({ op: "input", name });
/** A number that all elements of a tensor share in a step. */
export const scalar = (name: string): Expr => ({ op: "scalar", name });
/** Rounded to fp32. */
export const constant = (value: number): Expr => ({ op: "constant", value: Math.fround(value) });

const unary =
  (op: Unary) =>
  (a: Expr): Expr => ({ op, a });
const binary =
  (op: Binary) =>
  (a: Expr, b: Expr): Expr => ({ op, a, b });

export const neg = unary("neg");
export const abs = unary("abs");
export const sqrt = unary("sqrt");
export const add = binary("add");
export const sub = binary("sub");
export const mul = binary("mul");
export const div = binary("div");
/** NaN if either is. */
export const min = binary("min");
export const max = binary("max");

/** `then` where the comparison of a and b holds, `otherwise` elsewhere (so also where one of them is NaN). */
export const where = (test: Comparison, [a, b]: readonly [Expr, Expr], then: Expr, otherwise: Expr): Expr => ({
  op: "where",
  test,
  a,
  b,
  then,
  otherwise,
});

/** The expressions that an expression is made of. */
export const operandsOf = (expr: Expr): readonly Expr[] => {
  if (expr.op === "where") return [expr.a, expr.b, expr.then, expr.otherwise];
  if ("b" in expr) return [expr.a, expr.b];
  return "a" in expr ? [expr.a] : [];
};

/** All parts of some expressions, each once, operands before what uses them. */
export const inOrder = (roots: readonly Expr[]): readonly Expr[] => {
  const seen = new Set<Expr>();
  const visit = (expr: Expr): void => {
    if (seen.has(expr)) return;
    for (const operand of operandsOf(expr)) visit(operand);
    seen.add(expr);
  };
  for (const root of roots) visit(root);
  return [...seen];
};

/** What a set of outputs reads and writes, in the order that compiled code takes it. */
export interface Signature {
  readonly inputs: readonly string[];
  readonly scalars: readonly string[];
  readonly outputs: readonly string[];
}

export const signatureOf = (outputs: Readonly<Record<string, Expr>>): Signature => {
  const parts = inOrder(Object.values(outputs));
  const names = (op: "input" | "scalar") => [...new Set(parts.flatMap((part) => (part.op === op ? [part.name] : [])))].sort();
  return { inputs: names("input"), scalars: names("scalar"), outputs: Object.keys(outputs).sort() };
};
