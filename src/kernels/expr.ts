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

const isOne = (expr: Expr | undefined): boolean => expr?.kind === "constant" && expr.value === 1;

/** x · 1 is x, to the bit. */
const simplest = (expr: Expr): Expr => {
  if (expr.kind !== "operation" || expr.operator !== "mul") return expr;
  const [a, b] = expr.operands;
  return (isOne(a) ? b : isOne(b) ? a : expr) ?? expr;
};

/** The same expressions with equal subexpressions made one, so that each is computed once. */
export const merged = (outputs: Readonly<Record<string, Expr>>): Readonly<Record<string, Expr>> => {
  const ids = new Map<string, { readonly id: number; readonly expr: Expr }>();
  const made = new Map<Expr, { readonly id: number; readonly expr: Expr }>();
  const keyOf = (expr: Expr): string => {
    if (expr.kind === "operation") return `${expr.operator} ${expr.operands.map((operand) => made.get(operand)?.id)}`;
    // By its bits, since 0 and −0 are two numbers.
    return expr.kind === "constant"
      ? `#${new Int32Array(Float32Array.of(expr.value).buffer)}`
      : `${expr.kind} ${expr.name}`;
  };
  for (const expr of nodesOf(Object.values(outputs))) {
    const key = keyOf(expr);
    const operands = (of: readonly Expr[]) => of.map((operand) => made.get(operand)?.expr ?? operand);
    const fresh = expr.kind === "operation" ? { ...expr, operands: operands(expr.operands) } : expr;
    const known = ids.get(key) ?? { id: ids.size, expr: fresh };
    ids.set(key, known);
    made.set(expr, known);
  }
  return Object.fromEntries(Object.entries(outputs).map(([name, expr]) => [name, made.get(expr)?.expr ?? expr]));
};

/** `outputs` with inputs and scalars replaced by other expressions; what is shared stays shared. */
export const substitute = (
  outputs: Readonly<Record<string, Expr>>,
  by: { readonly inputs?: Readonly<Record<string, Expr>>; readonly scalar?: (name: string) => Expr },
): Readonly<Record<string, Expr>> => {
  const replaced = new Map<Expr, Expr>();
  // One leaf for each name, so that it is read once.
  const leaves = new Map<string, Expr>();
  const leaf = (name: string, make: (name: string) => Expr): Expr => {
    const known = leaves.get(name) ?? make(name);
    leaves.set(name, known);
    return known;
  };
  for (const expr of nodesOf(Object.values(outputs))) {
    const known = (operand: Expr): Expr => replaced.get(operand) ?? operand;
    if (expr.kind === "input") replaced.set(expr, by.inputs?.[expr.name] ?? expr);
    else if (expr.kind === "scalar") replaced.set(expr, by.scalar === undefined ? expr : leaf(expr.name, by.scalar));
    else if (expr.kind === "operation") replaced.set(expr, simplest({ ...expr, operands: expr.operands.map(known) }));
  }
  return Object.fromEntries(Object.entries(outputs).map(([name, expr]) => [name, replaced.get(expr) ?? expr]));
};
