import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { noiseWasm } from "../../src/kernels/noise.wasm.js";
import { fillNoise, maskedAt } from "../../src/random/noise.js";

type Fill = (k0: number, k1: number, c2: number, c3: number, low: number, high: number, n: number, out: number) => void;

const OUT = 65_536;
const memory = new WebAssembly.Memory({ initial: 3 });
const { exports } = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(Buffer.from(noiseWasm, "base64"))), {
  env: { memory },
});
/** Elements that the kernel makes at once, and elements of a block. */
const layouts = [
  ["gaussian", 64, 8],
  ["rademacher", 1024, 128],
] as const;

const word = fc.integer({ min: 0, max: 0xffff_ffff });
const groups = fc.oneof(fc.nat(100), fc.integer({ min: 0, max: 2 ** 40 }));

describe("noise kernels", () => {
  it.each(layouts)("draw the bits of the %s definition, from any start", (name, group, perBlock) => {
    const fill = exports[name] as Fill;
    fc.assert(
      fc.property(fc.tuple(word, word, word, word), groups, fc.integer({ min: 1, max: 4 }), (key, first, count) => {
        const [start, n] = [first * group, count * group];
        const block = start / perBlock;
        fill(...key, block % 2 ** 32, Math.floor(block / 2 ** 32), n, OUT);
        const expected = new Float32Array(n);
        fillNoise(name, Uint32Array.from(key), start, expected);
        expect(new Uint32Array(memory.buffer.slice(OUT, OUT + 4 * n))).toEqual(new Uint32Array(expected.buffer));
      }),
      { numRuns: 150, seed: 4 },
    );
  });

  it.each(layouts)("write %s noise where they are told and nowhere else", (name, group) => {
    const bytes = new Uint8Array(memory.buffer);
    bytes.fill(0xaa, OUT);
    (exports[name] as Fill)(1, 2, 3, 4, 0, 0, 2 * group, OUT + 64);
    const untouched = (from: number, to: number) => bytes.subarray(from, to).every((byte) => byte === 0xaa);
    expect(untouched(OUT, OUT + 64)).toBe(true);
    expect(untouched(OUT + 64 + 8 * group, bytes.length)).toBe(true);
    expect(untouched(OUT + 64, OUT + 64 + 8 * group)).toBe(false);
  });

  it.each([
    ["0, which counts as ±2", 0, 2_098_530_752],
    ["1, the greatest radius", 1, 3_559_822_472],
    ["−1, the greatest radius", -1, 17_343_432_963],
    ["−2³¹, radius 0", -(2 ** 31), 18_683_994_938],
  ])("are exact where the word is %s", (_, word, index) => {
    const key = [1, 2, 3, 4] as const;
    const start = index - (index % 64);
    const block = start / 8;
    (exports.gaussian as Fill)(...key, block % 2 ** 32, Math.floor(block / 2 ** 32), 64, OUT);
    const found = new Float32Array(memory.buffer, OUT, 64);
    const expected = new Float32Array(64);
    fillNoise("gaussian", Uint32Array.from(key), start, expected);
    expect([...found]).toEqual([...expected]);
    const radius = (word < 0 ? -1 : 1) * Math.sqrt(-2 * Math.log(Math.abs(word || 2) / 2 ** 31));
    const angle = (Math.PI / 2) * (Math.imul(word, 2_654_435_769) / 2 ** 31);
    expect(found[index - start]).toBeCloseTo(radius * Math.cos(angle), 4);
    expect(found[index - start + 4]).toBeCloseTo(radius * Math.sin(angle), 4);
  });
});

describe("mask kernels", () => {
  const call = (name: string, ...args: number[]) => (exports[name] as (...args: number[]) => void)(...args);
  const ones = (n: number): Float32Array => new Float32Array(memory.buffer, OUT, n).fill(-2.5);

  it("zero what a mask leaves out, from any start", () => {
    const starts = fc.oneof(fc.nat(100), fc.integer({ min: 0, max: 2 ** 46 })).map((group) => 32 * group);
    const thresholds = fc.oneof(word, fc.constantFrom(0, 1, 2 ** 31, 0xffff_ffff));
    fc.assert(
      fc.property(fc.tuple(word, word, word, word), starts, thresholds, (key, start, threshold) => {
        const n = 96;
        const z = ones(n);
        const block = start / 4;
        call("sparsify", ...key, block % 2 ** 32, Math.floor(block / 2 ** 32), n, OUT, OUT + 4 * n, threshold);
        const stream = Uint32Array.from(key);
        expect([...z]).toEqual(Array.from(z, (_, i) => (maskedAt(stream, start + i, threshold) ? 0 : -2.5)));
      }),
      { numRuns: 150, seed: 5 },
    );
  });

  it("mark magnitudes up to a threshold, itself included, and nothing that is not a number", () => {
    const bits = OUT + 4096;
    const values = [0, -0, 0.5, -0.5, 0.50001, -0.50001, 1e-40, Infinity, -Infinity, Number.NaN];
    const weights = new Float32Array(memory.buffer, OUT, 64);
    weights.set(weights.map((_, i) => values[i % values.length]!));
    call("mark", OUT, 64, bits, 0.5);
    const words = new Uint32Array(memory.buffer, bits, 2);
    const marked = Array.from({ length: 64 }, (_, i) => (words[i >> 5]! >>> (i & 31)) & 1);
    expect(marked).toEqual(Array.from(weights, (value) => (Math.abs(value) <= 0.5 ? 1 : 0)));
    call("mark", OUT, 64, bits, Number.NaN);
    expect([...words]).toEqual([0, 0]);
  });

  it("zero what is not in a plane", () => {
    fc.assert(
      fc.property(word, word, word, (a, b, c) => {
        const [n, bits] = [96, OUT + 4096];
        new Uint32Array(memory.buffer, bits, 3).set([a, b, c]);
        const z = ones(n);
        call("screen", OUT, n, bits);
        expect([...z]).toEqual(Array.from(z, (_, i) => (([a, b, c][i >> 5]! >>> (i & 31)) & 1 ? -2.5 : 0)));
      }),
      { numRuns: 50, seed: 6 },
    );
  });
});
