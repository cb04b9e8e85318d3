import { type Binary, type Comparison, type Expr, inOrder, type Signature, signatureOf, type Unary } from "./expr.js";

/*
 * Expressions to a WebAssembly SIMD128 module, emitted byte by byte (webassembly.github.io/spec/core/binary). One function,
 * `run(n, input pointers…, output pointers…, scalars…)`, over n elements, n a multiple of 4, in the memory it imports.
 */

type Code = readonly number[];

const unsigned = (value: number): Code => {
  const out: number[] = [];
  let rest = value;
  do {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    out.push(rest === 0 ? low : low | 0x80);
  } while (rest !== 0);
  return out;
};
const sized = (content: Code): Code => [...unsigned(content.length), ...content];
const list = (items: readonly Code[]): Code => [...unsigned(items.length), ...items.flat()];
const name = (text: string): Code => sized([...new TextEncoder().encode(text)]);
const section = (id: number, content: Code): Code => [id, ...sized(content)];

const I32 = 0x7f;
const F32 = 0x7d;
const V128 = 0x7b;
const simd = (code: number): Code => [0xfd, ...unsigned(code)];
const get = (local: number): Code => [0x20, ...unsigned(local)];
const set = (local: number): Code => [0x21, ...unsigned(local)];
const add32 = 0x6a;
const alignment = [4, 0];

const unary: Readonly<Record<Unary, number>> = { abs: 224, neg: 225, sqrt: 227 };
const binary: Readonly<Record<Binary, number>> = { add: 228, sub: 229, mul: 230, div: 231, min: 232, max: 233 };
const compare: Readonly<Record<Comparison, number>> = { eq: 65, lt: 67, le: 69 };
const SPLAT = 19;
const SELECT = 82;
const CONST = 12;

const splatted = (value: number): Code => {
  const bytes = new Uint8Array(Float32Array.of(value, value, value, value).buffer);
  return [...simd(CONST), ...bytes];
};

/** Rules that fit a fixed frame: a rule is a handful of operations. */
export interface Rule extends Signature {
  readonly wasm: Uint8Array<ArrayBuffer>;
}

/** Compiles the new values of some outputs; all inputs of an element are read before any output is written. */
export const compileRule = (outputs: Readonly<Record<string, Expr>>): Rule => {
  const signature = signatureOf(outputs);
  const parts = inOrder(Object.values(outputs));
  const pointers = [...signature.inputs, ...signature.outputs];
  const parameters = 1 + pointers.length + signature.scalars.length;
  // Locals after the parameters: the offset, then one vector a part.
  const offset = parameters;
  const localOf = new Map(parts.map((part, i) => [part, parameters + 1 + i]));
  const of = (expr: Expr): Code => get(localOf.get(expr) ?? 0);
  const pointer = (index: number): Code => [...get(1 + index), ...get(offset), add32];
  const scalarAt = (text: string): number => 1 + pointers.length + signature.scalars.indexOf(text);

  const compute = (part: Expr): Code => {
    if (part.op === "input") return [...pointer(signature.inputs.indexOf(part.name)), ...simd(0), ...alignment];
    if (part.op === "scalar") return [...get(scalarAt(part.name)), ...simd(SPLAT)];
    if (part.op === "constant") return splatted(part.value);
    if (part.op === "where") {
      return [...of(part.then), ...of(part.otherwise), ...of(part.a), ...of(part.b), ...simd(compare[part.test]), ...simd(SELECT)];
    }
    if ("b" in part) return [...of(part.a), ...of(part.b), ...simd(binary[part.op])];
    return [...of(part.a), ...simd(unary[part.op])];
  };
  const isFixed = (part: Expr) => part.op === "scalar" || part.op === "constant";
  const assign = (chosen: readonly Expr[]): Code => chosen.flatMap((part) => [...compute(part), ...set(localOf.get(part) ?? 0)]);
  const store = signature.outputs.flatMap((output, i) => {
    const expr = outputs[output];
    return expr === undefined ? [] : [...pointer(signature.inputs.length + i), ...of(expr), ...simd(11), ...alignment];
  });
  const body: Code = [
    ...list([
      [1, I32],
      [...unsigned(parts.length), V128],
    ]),
    ...assign(parts.filter(isFixed)),
    // if n > 0: loop
    ...[...get(0), 0x04, 0x40, 0x03, 0x40],
    ...assign(parts.filter((part) => !isFixed(part))),
    ...store,
    // offset += 16; continue while offset < 4n
    ...[...get(offset), 0x41, 16, add32, 0x22, ...unsigned(offset), ...get(0), 0x41, 2, 0x74, 0x49, 0x0d, 0],
    ...[0x0b, 0x0b, 0x0b],
  ];
  const types = [I32, ...pointers.map(() => I32), ...signature.scalars.map(() => F32)];
  const wasm = Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, list([[0x60, ...list(types.map((type) => [type])), 0]])),
    ...section(2, list([[...name("env"), ...name("memory"), 2, 0, 1]])),
    ...section(3, list([[0]])),
    ...section(7, list([[...name("run"), 0, 0]])),
    ...section(10, list([sized(body)])),
  ]);
  return { ...signature, wasm };
};
