import type { Operator } from "./expr.js";

interface Operation {
  /** Vector instructions after the 0xfd prefix, on operands pushed in order. */
  readonly simd: readonly number[];
  /** The same on fp32 values; the caller rounds the result to fp32, which is exact for IEEE's five operations. */
  readonly value: (a: number, b: number, c: number, d: number) => number;
}

const BIT_SELECT = 0x52;

/** What each operator means, for every backend. */
export const operations: Readonly<Record<Operator, Operation>> = {
  neg: { simd: [0xe1], value: (a) => -a },
  abs: { simd: [0xe0], value: Math.abs },
  sqrt: { simd: [0xe3], value: Math.sqrt },
  add: { simd: [0xe4], value: (a, b) => a + b },
  sub: { simd: [0xe5], value: (a, b) => a - b },
  mul: { simd: [0xe6], value: (a, b) => a * b },
  div: { simd: [0xe7], value: (a, b) => a / b },
  min: { simd: [0xe8], value: (a, b) => Math.min(a, b) },
  max: { simd: [0xe9], value: (a, b) => Math.max(a, b) },
  "where-eq": { simd: [0x41, BIT_SELECT], value: (x, y, a, b) => (a === b ? x : y) },
  "where-lt": { simd: [0x43, BIT_SELECT], value: (x, y, a, b) => (a < b ? x : y) },
  "where-le": { simd: [0x45, BIT_SELECT], value: (x, y, a, b) => (a <= b ? x : y) },
};
