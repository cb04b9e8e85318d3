import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { noiseWasm } from "../../src/kernels/noise.wasm.js";
import { fillNoise } from "../../src/random/noise.js";

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
