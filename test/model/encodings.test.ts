import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Encoding, encodings, type WritableEncoding, writers } from "../../src/model/encodings.js";

const decode = (encoding: Encoding, bytes: Uint8Array): Float32Array => {
  const { blockBytes, blockElements } = encodings[encoding];
  const out = new Float32Array((bytes.length / blockBytes) * blockElements);
  encodings[encoding].decode(bytes, out);
  return out;
};
const encode = (encoding: WritableEncoding, ...values: number[]): number[] => [
  ...new Uint16Array(writers[encoding](Float32Array.from(values)).buffer),
];
const roundTrip = (encoding: WritableEncoding, value: number): number | undefined =>
  decode(encoding, writers[encoding](Float32Array.of(value)))[0];

/** The halves of a block's scales. */
const half = (value: number): [number, number] => {
  const [bits = 0] = encode("F16", value);
  return [bits & 255, bits >> 8];
};
const signed = (byte: number): number => (byte << 24) >> 24;

/** The neighbour of a half in magnitude, by its bits. */
const halfValue = (bits: number): number => decode("F16", Uint8Array.of(bits & 255, bits >> 8))[0] ?? Number.NaN;

describe("two-byte floats", () => {
  it("every half that is a number survives the way out and back", () => {
    const all = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
    const values = decode("F16", new Uint8Array(all.buffer));
    const back = new Uint16Array(writers.F16(values).buffer);
    const wrong = [...all].filter((bits) => !Number.isNaN(values[bits]) && back[bits] !== bits);
    expect(wrong).toEqual([]);
    expect([0x3c00, 0xc000, 0x7bff, 0x0001, 0x0400, 0xfc00].map(halfValue)).toEqual([
      1,
      -2,
      65504,
      2 ** -24,
      2 ** -14,
      Number.NEGATIVE_INFINITY,
    ]);
  });

  it("fp32 rounds to the nearest half, ties to the even one", () => {
    expect(encode("F16", 1 + 2 ** -11, 1 + 3 * 2 ** -11, 1 + 2 ** -11 + 2 ** -20)).toEqual([0x3c00, 0x3c02, 0x3c01]);
    expect(encode("F16", 2 ** -25, 3 * 2 ** -25, 2 ** -25 * 1.0001, 2 ** -26)).toEqual([0, 2, 1, 0]);
    expect(encode("F16", 65519.9, 65520, -1e9, 2 ** -14 - 2 ** -26)).toEqual([0x7bff, 0x7c00, 0xfc00, 0x0400]);
    expect(roundTrip("F16", Number.NaN)).toBeNaN();
    const finite = fc.float({ noNaN: true, min: -65504, max: 65504 });
    fc.assert(
      fc.property(finite, (value) => {
        const [bits = 0] = encode("F16", value);
        const error = Math.abs(halfValue(bits) - value);
        for (const neighbour of [bits - 1, bits + 1]) {
          // Past zero or past the largest half the neighbour by bits is another number altogether.
          if (((neighbour ^ bits) & 0x8000) !== 0 || (neighbour & 0x7fff) >= 0x7c00) continue;
          expect(Math.abs(halfValue(neighbour) - value)).toBeGreaterThanOrEqual(error);
        }
      }),
      { numRuns: 2000, seed: 1 },
    );
  });

  it("fp32 rounds to the nearest bfloat16, ties to the even one", () => {
    expect(encode("BF16", 1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, -(1 + 2 ** -8 + 2 ** -20))).toEqual([
      0x3f80, 0x3f80, 0x3f82, 0xbf81,
    ]);
    expect(encode("BF16", 3.4e38, Number.NEGATIVE_INFINITY)).toEqual([0x7f80, 0xff80]);
    expect(roundTrip("BF16", Number.NaN)).toBeNaN();
    fc.assert(
      fc.property(fc.float({ noNaN: true, min: -(2 ** 126), max: 2 ** 126 }), (value) => {
        expect(Math.abs((roundTrip("BF16", value) ?? 0) - value)).toBeLessThanOrEqual(
          Math.max(2 ** -134, Math.abs(value) * 2 ** -8),
        );
      }),
    );
  });
});

/* ggml's block formats, element by element from their definition (`dequantize_row_*` in ggml-quants.c). */
const definitions: Readonly<Partial<Record<Encoding, (block: Uint8Array, i: number) => number>>> = {
  Q4_0: (b, i) => f16(b, 0) * (nibble(b, 2, i) - 8),
  Q4_1: (b, i) => f16(b, 0) * nibble(b, 4, i) + f16(b, 2),
  Q8_0: (b, i) => f16(b, 0) * signed(b[2 + i] ?? 0),
  Q4_K(b, i) {
    const j = i >> 5;
    const packed = (at: number): number => b[4 + at] ?? 0;
    const scale = j < 4 ? packed(j) & 63 : (packed(j + 4) & 15) | ((packed(j - 4) >> 6) << 4);
    const least = j < 4 ? packed(j + 4) & 63 : (packed(j + 4) >> 4) | ((packed(j) >> 6) << 4);
    const byte = b[16 + 32 * (i >> 6) + (i & 31)] ?? 0;
    return f16(b, 0) * scale * ((j & 1) === 0 ? byte & 15 : byte >> 4) - f16(b, 2) * least;
  },
  Q6_K(b, i) {
    const [h, r] = [i >> 7, i & 127];
    const low = b[64 * h + (r & 63)] ?? 0;
    const high = b[128 + 32 * h + (r & 31)] ?? 0;
    const quant = (r < 64 ? low & 15 : low >> 4) | (((high >> (2 * (r >> 5))) & 3) << 4);
    return f16(b, 208) * signed(b[192 + (i >> 4)] ?? 0) * (quant - 32);
  },
};
const f16 = (block: Uint8Array, at: number): number => decode("F16", block.slice(at, at + 2))[0] ?? 0;
const nibble = (block: Uint8Array, at: number, i: number): number =>
  i < 16 ? (block[at + i] ?? 0) & 15 : (block[at + i - 16] ?? 0) >> 4;
const scalesAt: Readonly<Partial<Record<Encoding, readonly number[]>>> = {
  Q4_0: [0],
  Q4_1: [0, 2],
  Q8_0: [0],
  Q4_K: [0, 2],
  Q6_K: [208],
};

describe.each(Object.keys(definitions) as (keyof typeof definitions)[])("%s", (encoding) => {
  it("two random blocks are what the definition says, element by element", () => {
    const { blockBytes, blockElements } = encodings[encoding];
    const bytes = fc.uint8Array({ minLength: 2 * blockBytes, maxLength: 2 * blockBytes });
    const scale = fc.double({ min: -4, max: 4, noNaN: true });
    fc.assert(
      fc.property(bytes, fc.tuple(scale, scale), (random, scales) => {
        for (const start of [0, blockBytes]) {
          (scalesAt[encoding] ?? []).forEach((at, i) => {
            random.set(half(scales[i] ?? 0), start + at);
          });
        }
        const out = decode(encoding, random);
        const expected = Float32Array.from(
          { length: 2 * blockElements },
          (_, i) =>
            definitions[encoding]?.(
              random.subarray(i < blockElements ? 0 : blockBytes, i < blockElements ? blockBytes : undefined),
              i % blockElements,
            ) ?? Number.NaN,
        );
        // fp32 rounding of products up to 4·127·32.
        const worst = out.reduce((most, value, i) => Math.max(most, Math.abs(value - (expected[i] ?? Number.NaN))), 0);
        expect(worst).toBeLessThanOrEqual(4e-3);
      }),
      { numRuns: 50, seed: 1 },
    );
  });
});
