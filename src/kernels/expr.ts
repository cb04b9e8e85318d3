/*
 * Elementwise fp32 arithmetic as plain data (it can be posted to a worker). Kernels for every platform are generated from it.
 * A subexpression that several parents share by identity is computed once.
 */

type Unary = "neg" | "abs" | "sqrt";
type Binary = "add" | "sub" | "mul" | "div" | "min" | "max";
/** x where a test of a and b holds, else y; the arguments are x, y, a, b. */
type Choice = "where-lt" | "where-le" | "where-eq";

export type Operator = Unary | Binary | Choice;

export type Expr =
  | { readonly kind: "input" | "scalar"; readonly name: string }
  | { readonly kind: "constant"; readonly value: number }
  | { readonly kind: "operation"; readonly operator: Operator; readonly operands: readonly Expr[] };

const operation =
  <T extends readonly Expr[]>(operator: Operator) =>
  (...operands: T): Expr => ({ kind: "operation", operator, operands });

/** One value an element, such as "weight", "g" or a state. */
export const input = (name: string): Expr => ({ kind: "input", name });

/** One value a call, such as "learningRate"; rounded to fp32. */
export const scalar = (name: string): Expr => ({ kind: "scalar", name });

/** Rounded to fp32. */
export const constant = (value: number): Expr => ({ kind: "constant", value });

export const add = operation<[a: Expr, b: Expr]>("add");
export const sub = operation<[a: Expr, b: Expr]>("sub");
export const mul = operation<[a: Expr, b: Expr]>("mul");
export const div = operation<[a: Expr, b: Expr]>("div");
/** NaN when either is NaN; −0 is below +0. */
export const min = operation<[a: Expr, b: Expr]>("min");
/** NaN when either is NaN; −0 is below +0. */
export const max = operation<[a: Expr, b: Expr]>("max");
export const neg = operation<[a: Expr]>("neg");
export const abs = operation<[a: Expr]>("abs");
export const sqrt = operation<[a: Expr]>("sqrt");

type Pair = readonly [a: Expr, b: Expr];

/** `x` where a < b (or a ≤ b, a = b), else `y`; comparisons with NaN are false. */
export const where = (test: { lt: Pair } | { le: Pair } | { eq: Pair }, x: Expr, y: Expr): Expr => {
  const choose = (operator: Choice, [a, b]: Pair): Expr => operation<[Expr, Expr, Expr, Expr]>(operator)(x, y, a, b);
  if ("lt" in test) return choose("where-lt", test.lt);
  return "le" in test ? choose("where-le", test.le) : choose("where-eq", test.eq);
};

/** What an expression is made of, operands before their operations, each once. */
export const nodesOf = (roots: readonly Expr[]): readonly Expr[] => {
  const seen = new Set<Expr>();
  const visit = (expr: Expr): void => {
    if (seen.has(expr)) return;
    if (expr.kind === "operation") expr.operands.forEach(visit);
    seen.add(expr);
  };
  roots.forEach(visit);
  return [...seen];
};

/** `expr` with inputs replaced by other expressions; what is shared stays shared. */
export const substitute = (
  outputs: Readonly<Record<string, Expr>>,
  inputs: Readonly<Record<string, Expr>>,
): Readonly<Record<string, Expr>> => {
  const replaced = new Map<Expr, Expr>();
  for (const expr of nodesOf(Object.values(outputs))) {
    const known = (operand: Expr): Expr => replaced.get(operand) ?? operand;
    if (expr.kind === "input") replaced.set(expr, inputs[expr.name] ?? expr);
    else if (expr.kind === "operation") replaced.set(expr, { ...expr, operands: expr.operands.map(known) });
  }
  return Object.fromEntries(Object.entries(outputs).map(([name, expr]) => [name, replaced.get(expr) ?? expr]));
};
