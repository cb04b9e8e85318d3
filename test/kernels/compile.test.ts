import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compileRule, RULE_STRIDE } from "../../src/kernels/compile.js";
import {
  abs,
  add,
  constant,
  div,
  type Expr,
  input,
  max,
  merged,
  min,
  mul,
  neg,
  nodesOf,
  scalar,
  sqrt,
  sub,
  substitute,
  where,
} from "../../src/kernels/expr.js";
import { reference } from "../../src/kernels/reference.js";

type Buffers = Record<string, Float32Array>;
const BYTES = 8192;

/** Runs a compiled rule on copies of `buffers`, in place where an output has an input's name, and gives back what it wrote. */
const run = (outputs: Record<string, Expr>, n: number, buffers: Buffers, scalars: Record<string, number>): Buffers => {
  const rule = compileRule(outputs);
  const memory = new WebAssembly.Memory({ initial: 1 });
  const names = [...new Set([...rule.inputs, ...rule.outputs])];
  const at = (name: string) => names.indexOf(name) * BYTES;
  for (const name of rule.inputs) new Float32Array(memory.buffer, at(name), BYTES / 4).set(buffers[name]!);
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(rule.wasm), { env: { memory } });
  const call = exports.run as (...args: number[]) => void;
  call(n, ...rule.inputs.map(at), ...rule.outputs.map(at), ...rule.scalars.map((name) => scalars[name]!));
  return Object.fromEntries(rule.outputs.map((name) => [name, new Float32Array(memory.buffer, at(name), n).slice()]));
};

/** Bit patterns, with one for all NaNs. */
const patterns = (values: Float32Array) =>
  Array.from(new Uint32Array(values.slice().buffer), (bits, i) => (Number.isNaN(values[i]) ? "NaN" : bits));

const a = input("a");
const b = input("b");
const special = [0, -0, 1, -1, 0.1, -2.5, 1e-40, 3e38, -3e38, Infinity, -Infinity, Number.NaN];
const every = special.flatMap((x) => special.map((y) => [x, y] as const));
const pairs: Buffers = { a: Float32Array.from(every, ([x]) => x), b: Float32Array.from(every, ([, y]) => y) };
const f = Math.fround;

const operators: readonly (readonly [string, Expr, (x: number, y: number) => number])[] = [
  ["add", add(a, b), (x, y) => x + y],
  ["sub", sub(a, b), (x, y) => x - y],
  ["mul", mul(a, b), (x, y) => x * y],
  ["div", div(a, b), (x, y) => x / y],
  ["min", min(a, b), (x, y) => Math.min(x, y)],
  ["max", max(a, b), (x, y) => Math.max(x, y)],
  ["neg", neg(a), (x) => -x],
  ["abs", abs(a), (x) => Math.abs(x)],
  ["sqrt", sqrt(a), (x) => Math.sqrt(x)],
  ["where lt", where({ lt: [a, b] }, a, neg(b)), (x, y) => (x < y ? x : -y)],
  ["where le", where({ le: [a, b] }, a, neg(b)), (x, y) => (x <= y ? x : -y)],
  ["where eq", where({ eq: [a, b] }, a, neg(b)), (x, y) => (x === y ? x : -y)],
  ["constant", constant(0.1), () => 0.1],
  ["scalar", scalar("s"), () => 0.3],
];

const leaf: fc.Arbitrary<Expr> = fc.oneof(
  fc.constantFrom("a", "b", "c").map(input),
  fc.constantFrom("s", "t").map(scalar),
  fc.float({ noNaN: true }).map(constant),
);
const unary = fc.constantFrom(neg, abs, sqrt);
const binary = fc.constantFrom(add, sub, mul, div, min, max);
const tests = fc.constantFrom("lt", "le", "eq");
/** Expressions grown one operation at a time from the ones before, so that much is shared. */
const grown = fc
  .tuple(
    fc.array(leaf, { minLength: 1, maxLength: 4 }),
    fc.array(fc.tuple(fc.nat(2), unary, binary, tests, fc.array(fc.nat(), { minLength: 4, maxLength: 4 })), {
      maxLength: 25,
    }),
  )
  .map(([leaves, steps]) => {
    const made = [...leaves];
    for (const [kind, one, two, test, picks] of steps) {
      const [p, q, r, s] = picks.map((pick) => made[pick % made.length]!) as [Expr, Expr, Expr, Expr];
      const condition = { [test]: [p, q] } as unknown as Parameters<typeof where>[0];
      made.push(kind === 0 ? one(p) : kind === 1 ? two(p, q) : where(condition, r, s));
    }
    return { a: made[made.length - 1]!, out: made[Math.floor(made.length / 2)]! };
  });
const values = fc.oneof(fc.float(), fc.constantFrom(...special));

describe("compiled rules", () => {
  it.each(operators)("compute %s as IEEE 754 does, specials included", (_, expr, value) => {
    const { out } = run({ out: expr }, every.length, pairs, { s: 0.3 });
    const expected = Float32Array.from(every, ([x, y]) => value(f(x), f(y)));
    expect(patterns(out!)).toEqual(patterns(expected));
  });

  it("have the bits of the reference on random expressions", () => {
    const data = fc.array(values, { minLength: 64, maxLength: 64 }).map((list) => Float32Array.from(list));
    fc.assert(
      fc.property(
        grown,
        data,
        data,
        data,
        values,
        values,
        fc.integer({ min: 0, max: 64 }),
        (outputs, x, y, z, s, t, n) => {
          const buffers = { a: x, b: y, c: z };
          const scalars = { s: f(s), t: f(t) };
          const plain: Buffers = { a: x.slice(), b: y.slice(), c: z.slice(), out: new Float32Array(64) };
          reference(outputs)(n, plain, scalars);
          const fast = run(outputs, n, buffers, scalars);
          for (const name of ["a", "out"]) expect(patterns(fast[name]!)).toEqual(patterns(plain[name]!.subarray(0, n)));
        },
      ),
      { numRuns: 400, seed: 7 },
    );
  });

  it("read every input before they write: two arrays swap in place", () => {
    const swapped = run({ a: b, b: a }, 100, pairs, {});
    expect(patterns(swapped.a!)).toEqual(patterns(pairs.b!.subarray(0, 100)));
    expect(patterns(swapped.b!)).toEqual(patterns(pairs.a!.subarray(0, 100)));
  });

  it("write whole strides and nothing beyond", () => {
    const rule = compileRule({ out: constant(1) });
    const memory = new WebAssembly.Memory({ initial: 1 });
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(rule.wasm), { env: { memory } });
    (exports.run as (n: number, out: number) => void)(RULE_STRIDE + 1, 64);
    const floats = new Float32Array(memory.buffer);
    expect(floats.indexOf(1)).toBe(16);
    expect(floats.lastIndexOf(1)).toBe(16 + 2 * RULE_STRIDE - 1);
  });

  it("name what they read, in the order of their parameters, and compute what is shared once", () => {
    const shared = sqrt(div(a, scalar("s")));
    const rule = compileRule({ x: add(shared, b), y: mul(shared, scalar("t")) });
    expect(rule).toMatchObject({ inputs: ["a", "b"], scalars: ["s", "t"], outputs: ["x", "y"] });
    const roots = [...rule.wasm].filter(
      (byte, i) => byte === 0xfd && rule.wasm[i + 1] === 0xe3 && rule.wasm[i + 2] === 0x01,
    );
    expect(roots).toHaveLength(RULE_STRIDE / 4);
  });

  it("survive a thousand operations in a row", () => {
    const long = Array.from({ length: 1000 }).reduce<Expr>((sum) => add(sum, a), constant(0));
    expect(run({ out: long }, 4, { a: Float32Array.of(1, 2, 3, 4) }, {}).out).toEqual(
      Float32Array.of(1000, 2000, 3000, 4000),
    );
  });
});

describe("substitute", () => {
  it("replaces inputs and keeps what is shared shared", () => {
    const shared = sqrt(a);
    const { x, y } = substitute({ x: add(shared, b), y: neg(shared) }, { inputs: { a: constant(4) } });
    if (x?.kind !== "operation" || y?.kind !== "operation") throw new Error("not operations");
    expect(x.operands[0]).toEqual(sqrt(constant(4)));
    expect(x.operands[0]).toBe(y.operands[0]);
    expect(x.operands[1]).toEqual(b);
  });

  it("leaves out a multiplication by 1, and by nothing else", () => {
    const by = (value: number) => substitute({ x: mul(scalar("s"), a) }, { scalar: () => constant(value) }).x;
    expect(by(1)).toEqual(a);
    for (const value of [0, -0, -1, 2]) expect(by(value)).toEqual(mul(constant(value), a));
  });

  it("renames scalars, each once", () => {
    const { x } = substitute({ x: add(mul(a, scalar("s")), scalar("s")) }, { scalar: (name) => scalar(`1:${name}`) });
    expect(x).toEqual(add(mul(a, scalar("1:s")), scalar("1:s")));
    expect(nodesOf(x === undefined ? [] : [x])).toHaveLength(4);
  });
});

describe("merged", () => {
  it("makes equal expressions one, whoever wrote them, and tells 0 from -0", () => {
    const { x, y, z } = merged({
      x: add(mul(input("a"), scalar("s")), constant(0)),
      y: neg(mul(input("a"), scalar("s"))),
      z: add(mul(input("a"), scalar("s")), constant(-0)),
    });
    if (x?.kind !== "operation" || y?.kind !== "operation" || z?.kind !== "operation")
      throw new Error("not operations");
    expect(x.operands[0]).toBe(y.operands[0]);
    expect(x.operands[1]).not.toBe(z.operands[1]);
    expect(nodesOf([x, y, z])).toHaveLength(8);
  });
});
