import { type Binary, type Comparison, type Expr, inOrder, signatureOf, type Unary } from "./expr.js";

const f = Math.fround;

const unary: Readonly<Record<Unary, (a: number) => number>> = { neg: (a) => -a, abs: Math.abs, sqrt: (a) => f(Math.sqrt(a)) };
const binary: Readonly<Record<Binary, (a: number, b: number) => number>> = {
  add: (a, b) => f(a + b),
  sub: (a, b) => f(a - b),
  mul: (a, b) => f(a * b),
  div: (a, b) => f(a / b),
  min: Math.min,
  max: Math.max,
};
const compare: Readonly<Record<Comparison, (a: number, b: number) => boolean>> = {
  lt: (a, b) => a < b,
  le: (a, b) => a <= b,
  eq: (a, b) => a === b,
};

/**
 * A rule in plain TypeScript: the same fp32 operations that `compileRule`'s kernel does, element by element. Every operation on
 * fp32 values is rounded once (float64 carries enough digits that rounding its result is rounding the exact one).
 *
 * @returns a function that reads `buffers` and `scalars` by name and writes the outputs into `buffers`, `n` elements each
 */
export const reference = (outputs: Readonly<Record<string, Expr>>) => {
  const parts = inOrder(Object.values(outputs));
  const { outputs: names } = signatureOf(outputs);
  return (n: number, buffers: Readonly<Record<string, Float32Array>>, scalars: Readonly<Record<string, number>>): void => {
    for (let i = 0; i < n; i++) {
      const values = new Map<Expr, number>();
      const of = (expr: Expr): number => values.get(expr) ?? Number.NaN;
      for (const part of parts) {
        let value: number;
        if (part.op === "input") value = buffers[part.name]?.[i] ?? Number.NaN;
        else if (part.op === "scalar") value = f(scalars[part.name] ?? Number.NaN);
        else if (part.op === "constant") value = f(part.value);
        else if (part.op === "where") value = compare[part.test](of(part.a), of(part.b)) ? of(part.then) : of(part.otherwise);
        else if ("b" in part) value = binary[part.op](of(part.a), of(part.b));
        else value = unary[part.op](of(part.a));
        values.set(part, value);
      }
      for (const name of names) {
        const buffer = buffers[name];
        const expr = outputs[name];
        if (buffer !== undefined && expr !== undefined) buffer[i] = of(expr);
      }
    }
  };
};
