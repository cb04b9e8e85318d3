import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { encodings, type WritableEncoding, writers } from "../../src/model/encodings.js";
import { readTensorSync, type TensorSource } from "../../src/model/weights.js";
import { permuteRows } from "./gguf-file.js";
import { temporaryFolder } from "./tiny.js";

/** Rows enough for several reads of a file. */
const ROWS = 1000;
const COLUMNS = 96;
const values = Float32Array.from({ length: ROWS * COLUMNS }, (_, i) => (i % 4096) - 2048);

/** Bit for bit; vitest's own comparison of large arrays is slow. */
const same = (a: Float32Array, b: Float32Array): boolean =>
  Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength));

const stored = async (bytes: Uint8Array, encoding: TensorSource["encoding"]): Promise<TensorSource> => {
  const file = join(await temporaryFolder(), "weights");
  writeFileSync(file, Buffer.concat([Buffer.alloc(7, 255), bytes, Buffer.alloc(5, 255)]));
  return { name: "w", shape: [ROWS, COLUMNS], encoding, file, offset: 7, length: bytes.length };
};

describe("readTensorSync", () => {
  it.each(["F32", "F16"] as const)("%s: a tensor larger than one read, at an odd offset", async (encoding) => {
    expect(same(readTensorSync(await stored(writers[encoding](values), encoding)), values)).toBe(true);
  });

  it("BF16 is read as it was rounded", async () => {
    const encoding: WritableEncoding = "BF16";
    const bytes = writers[encoding](values);
    const rounded = new Float32Array(values.length);
    encodings[encoding].decode(bytes, rounded);
    expect(same(readTensorSync(await stored(bytes, encoding)), rounded)).toBe(true);
    expect(rounded[2048 + 1]).toBe(1);
  });

  it("blocks: every block has its place, past the first read too", async () => {
    const { blockBytes, blockElements } = encodings.Q8_0;
    const blocks = 2 ** 15 + 3;
    const bytes = Buffer.alloc(blocks * blockBytes);
    for (let block = 0; block < blocks; block++) {
      bytes.writeUInt16LE(0x3c00, block * blockBytes);
      for (let i = 0; i < blockElements; i++) bytes.writeInt8(((block + i) % 255) - 127, block * blockBytes + 2 + i);
    }
    const read = readTensorSync({ ...(await stored(bytes, "Q8_0")), shape: [blocks, blockElements] });
    const wrong = read.findIndex(
      (value, at) => value !== ((Math.floor(at / blockElements) + (at % blockElements)) % 255) - 127,
    );
    expect([read.length, wrong]).toEqual([blocks * blockElements, -1]);
  });

  it.each([1, 5, 20])("rotary rows of %i heads are put back", async (heads) => {
    const source = await stored(writers.F32(permuteRows(values, ROWS, heads)), "F32");
    expect(same(readTensorSync({ ...source, kept: { as: "rotary pairs", heads } }), values)).toBe(true);
    expect(same(readTensorSync(source), values)).toBe(false);
  });

  it("a file that shrank or went away since is an error that names it", async () => {
    const source = await stored(writers.F32(values), "F32");
    truncateSync(source.file, 1000);
    expect(() => readTensorSync(source)).toThrow(`${source.file} ends inside w`);
    expect(() => readTensorSync({ ...source, file: `${source.file}-gone` })).toThrow("cannot be read");
  });
});
