import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ZerothError } from "../../src/errors.js";
import { BLOCK, type BlockMatrix, blockMatrices } from "../../src/model/blocks.js";
import { type Encoding, encodings, writers } from "../../src/model/encodings.js";
import { readTensorSync, type TensorSource } from "../../src/model/weights.js";

let place = "";
beforeEach(async () => {
  place = await mkdtemp(join(tmpdir(), "zeroth-blocks-"));
  vi.stubEnv("XDG_CACHE_HOME", join(place, "cache"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(place, { recursive: true, force: true });
});

/** The matrix that the runtime computes with, by the definition of its blocks. */
const valuesOf = ({ file, bits, blocks, scales, minima }: BlockMatrix): Float32Array => {
  const bytes = readFileSync(file);
  const floats = (at: { offset: number; length: number }) =>
    new Float32Array(bytes.buffer.slice(bytes.byteOffset + at.offset, bytes.byteOffset + at.offset + at.length));
  const [scale, least] = [floats(scales), minima === undefined ? undefined : floats(minima)];
  const zero = least === undefined ? 2 ** (bits - 1) : 0;
  return Float32Array.from({ length: scale.length * BLOCK }, (_, i) => {
    const block = Math.floor(i / BLOCK);
    const byte = bytes[blocks.offset + Math.floor((i * bits) / 8)]!;
    const q = bits === 8 ? byte : i % 2 === 0 ? byte & 15 : byte >> 4;
    return Math.fround(scale[block]! * (q - zero)) + (least?.[block] ?? 0);
  });
};

/** The two zeros as one: 0 − 8 + 8 loses the sign, which no product shows. */
const unsigned = (values: Float32Array): Float32Array => values.map((value) => value || 0);

const stored = (
  name: string,
  encoding: Encoding,
  shape: readonly [number, number],
  bytes: Uint8Array,
  heads?: number,
) => {
  const file = join(place, `${name}.bin`);
  writeFileSync(file, Buffer.concat([Buffer.alloc(40), bytes]));
  const source: TensorSource = { name, encoding, shape, file, offset: 40, length: bytes.length };
  return heads === undefined ? source : { ...source, kept: { as: "rotary pairs", heads } as const };
};
/** Any blocks, with scales that are finite numbers. */
const anyBlocks = (encoding: "Q4_0" | "Q4_1" | "Q8_0", count: number, seed: number): Uint8Array => {
  const { blockBytes } = encodings[encoding];
  const bytes = Uint8Array.from(
    { length: count * blockBytes },
    (_, i) => (Math.imul(i + seed, 2_654_435_761) >>> 13) & 255,
  );
  // Halves: exponents of small numbers, either sign.
  for (let at = 0; at < bytes.length; at += blockBytes) {
    bytes[at + 1] = (bytes[at + 1]! & 0x83) | 0x20;
    if (encoding === "Q4_1") bytes[at + 3] = (bytes[at + 3]! & 0x83) | 0x24;
  }
  return bytes;
};

describe("matrices in blocks", () => {
  test.each(["Q4_0", "Q4_1", "Q8_0"] as const)(
    "%s keeps its values bit for bit, rotary rows put back",
    async (encoding) => {
      for (const [rows, columns, heads] of [
        [3, 32, undefined],
        [300, 96, undefined],
        [24, 64, 3],
      ] as const) {
        const bytes = anyBlocks(encoding, (rows * columns) / BLOCK, rows);
        const source = stored(`${encoding}-${rows}`, encoding, [rows, columns], bytes, heads);
        const matrix = (await blockMatrices([source], `id${rows}`, undefined)).get(source.name)!;
        expect(matrix.bits).toBe(encoding === "Q8_0" ? 8 : 4);
        expect(matrix.minima !== undefined).toBe(encoding === "Q4_1");
        expect(unsigned(valuesOf(matrix))).toEqual(unsigned(readTensorSync(source)));
        for (const part of [matrix.blocks, matrix.scales]) expect(part.offset % 64).toBe(0);
        if (matrix.zeros !== undefined) {
          const zeros = readFileSync(matrix.file).subarray(
            matrix.zeros.offset,
            matrix.zeros.offset + matrix.zeros.length,
          );
          expect(zeros.every((byte) => byte === 0)).toBe(true);
          expect(zeros.length).toBe(rows * Math.ceil(columns / 64));
        }
      }
    },
  );

  test.each([4, 8] as const)("floats are rounded to %d bits: to the nearest of each block's steps", async (bits) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.float({ min: -3, max: 3, noNaN: true }), { minLength: 64, maxLength: 64 }),
        async (list) => {
          const values = Float32Array.from(list);
          const source = stored("w", "F32", [2, 32], writers.F32(values));
          const matrix = (await blockMatrices([source], String(values), bits)).get("w")!;
          const found = valuesOf(matrix);
          for (const block of [0, 1]) {
            const part = values.subarray(32 * block, 32 * block + 32);
            const extreme = part.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
            const step = bits === 4 ? extreme / 8 : extreme / 127;
            // The side of the extreme has one step more in 4 bits, so its opposite may be cut to 7 of 8.
            const bound = bits === 4 ? 1.01 * step : 0.51 * step;
            for (const [i, value] of part.entries()) {
              expect(Math.abs(found[32 * block + i]! - value)).toBeLessThanOrEqual(bound + 1e-30);
            }
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  test.each(["F32", "Q8_0"] as const)(
    "outputs by inputs, whichever way the model and the file have it: %s",
    async (encoding) => {
      const [inputs, outputs] = [64, 96];
      const bytes =
        encoding === "F32"
          ? writers.F32(Float32Array.from({ length: inputs * outputs }, (_, i) => Math.sin(i)))
          : anyBlocks(encoding, (inputs * outputs) / BLOCK, 3);
      const source = stored("w", encoding, [outputs, inputs], bytes);
      const wanted = (await blockMatrices([source], "plain", 8)).get("w");
      if (wanted === undefined) throw new Error("not in blocks");
      // The model wants it [inputs, outputs], the file has it as products do.
      const turned = { ...source, shape: [inputs, outputs], kept: { as: "transpose" }, turned: true } as const;
      const found = (await blockMatrices([turned], "turned", 8)).get("w");
      const bytesOf = (matrix: BlockMatrix | undefined) =>
        matrix === undefined ? "" : Buffer.from(valuesOf(matrix).buffer).toString("base64");
      expect(bytesOf(found) === bytesOf(wanted)).toBe(true);
      // The model and the file have it [inputs, outputs].
      const own = { ...stored("across", "F32", [inputs, outputs], writers.F32(readTensorSync(turned))), turned: true };
      const across = (await blockMatrices([own], "across", 8)).get("across");
      if (across === undefined) throw new Error("not in blocks");
      expect(across.blocks.length).toBe(wanted.blocks.length);
      const values = valuesOf(wanted);
      const apart = valuesOf(across).map((value, i) => Math.abs(value - (values[i] ?? Number.NaN)));
      expect(Math.max(...apart)).toBeLessThan(encoding === "F32" ? 1e-9 : 1e-2);
    },
  );

  test("what is no matrix of whole blocks, or floats without rounding, stays as it is", async () => {
    const floats = stored("f", "F32", [2, 32], new Uint8Array(256));
    const narrow = stored("n", "F32", [2, 16], new Uint8Array(128));
    const vector: TensorSource = { ...floats, name: "v", shape: [64] };
    expect(await blockMatrices([floats, narrow, vector], "id", undefined)).toEqual(new Map());
    expect([...(await blockMatrices([floats, narrow, vector], "id", 8)).keys()]).toEqual(["f"]);
  });

  test("the file is made once, and made anew when it is not whole", async () => {
    const source = stored("w", "Q4_0", [4, 64], anyBlocks("Q4_0", 8, 1));
    const make = async () => (await blockMatrices([source], "id", undefined)).get("w")!;
    const first = await make();
    const good = readFileSync(first.file);
    // The source is not read again.
    truncateSync(source.file, 0);
    expect(await make()).toEqual(first);
    writeFileSync(source.file, Buffer.concat([Buffer.alloc(40), anyBlocks("Q4_0", 8, 1)]));
    for (const damaged of [good.subarray(0, -1), Buffer.concat([good.subarray(0, -3), Buffer.from("...")])]) {
      writeFileSync(first.file, damaged);
      await make();
      expect(readFileSync(first.file).equals(good)).toBe(true);
    }
  });

  test("a weight file that is cut short is named, and nothing is kept of it", async () => {
    const source = stored("w", "Q4_0", [4, 64], anyBlocks("Q4_0", 8, 1));
    truncateSync(source.file, 100);
    await expect(blockMatrices([source], "id", undefined)).rejects.toThrow(ZerothError);
    await expect(blockMatrices([source], "id", undefined)).rejects.toThrow(`${source.file} ends inside w`);
  });
});
