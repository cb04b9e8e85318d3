import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { messageOf, ZerothError } from "../../src/errors.js";
import { writeSafetensors } from "../../src/model/safetensors.js";
import { readMask, writeMask } from "../../src/peft/mask.js";
import type { Trainable } from "../../src/peft/method.js";
import { temporaryFolder } from "../model/tiny.js";

const tensors: readonly Trainable[] = [
  { name: "model.embed.weight", shape: [40, 3], initial: { kind: "weights" } },
  { name: "model.norm.weight", shape: [9], initial: { kind: "weights" } },
  { name: "model.up.weight", shape: [5, 7], initial: { kind: "weights" } },
];
const sizeOf = ({ shape }: Trainable) => shape.reduce((product, dim) => product * dim, 1);
const fresh = async (): Promise<string> => join(await temporaryFolder(), "mask.safetensors");

/** Some elements of some of the tensors. */
const masks = fc
  .tuple(...tensors.map((tensor) => fc.option(fc.uniqueArray(fc.nat(sizeOf(tensor) - 1), { maxLength: 20 }))))
  .map(
    (lists) =>
      new Map(
        lists.flatMap((list, i) => (list === null ? [] : [[tensors[i]!.name, Uint32Array.from(list).sort()] as const])),
      ),
  );

describe("a stored mask", () => {
  it("is read as it was written; what it does not name is empty", async () => {
    const path = await fresh();
    await fc.assert(
      fc.asyncProperty(masks, async (written) => {
        await writeMask(path, written);
        const read = readMask(path, tensors);
        expect([...read.keys()].sort()).toEqual(tensors.map(({ name }) => name).sort());
        for (const { name } of tensors) expect(read.get(name)).toEqual(written.get(name) ?? new Uint32Array());
      }),
      { numRuns: 40 },
    );
  });

  it("is a safetensors file of whole numbers, and a part of an array is written as that part", async () => {
    const path = await fresh();
    await writeMask(path, new Map([["model.norm.weight", Uint32Array.of(9, 9, 1, 4, 8, 9).subarray(2, 5)]]));
    const bytes = readFileSync(path);
    const header = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE())).toString());
    expect(header["model.norm.weight"]).toEqual({ dtype: "I32", shape: [3], data_offsets: [0, 12] });
    expect([
      ...new Int32Array(bytes.buffer.slice(bytes.byteOffset + bytes.length - 12, bytes.byteOffset + bytes.length)),
    ]).toEqual([1, 4, 8]);
  });

  const indices = (name: string, elements: readonly number[]) => ({
    ...{ name, shape: [elements.length], dtype: "I32" as const },
    bytes: () => new Uint8Array(Int32Array.from(elements).buffer),
  });
  it.each<[string, string, readonly number[], RegExp]>([
    ["of another model", "model.other.weight", [1], /model\.other\.weight is no tensor that this run trains/],
    ["with an element past the end", "model.norm.weight", [3, 9], /lists 9 at place 1; elements are 0 to 8/],
    ["with a negative element", "model.norm.weight", [-1, 3], /lists 4294967295 at place 0; elements are 0 to 8/],
    ["out of order", "model.norm.weight", [3, 5, 4], /lists 4 at place 2; .*ascending/],
    ["with an element twice", "model.up.weight", [0, 3, 3], /lists 3 at place 2; .*each once/],
  ])("is refused %s, by the file and the tensor", async (_, name, elements, message) => {
    const path = await fresh();
    await writeSafetensors(path, [indices(name, elements)]);
    expect(() => readMask(path, tensors)).toThrow(ZerothError);
    expect(() => readMask(path, tensors)).toThrow(message);
    expect(() => readMask(path, tensors)).toThrow(path);
    expect(() => readMask(path, tensors)).toThrow(name);
  });

  it("is refused where it holds weights, and where it is no file", async () => {
    const path = await fresh();
    expect(() => readMask(path, tensors)).toThrow(ZerothError);
    await writeSafetensors(path, [
      { name: "model.norm.weight", shape: [2], dtype: "F32", bytes: () => new Uint8Array(8) },
    ]);
    expect(() => readMask(path, tensors)).toThrow(/model\.norm\.weight has dtype F32.*reads I32/);
    expect(() => readMask(path, tensors)).toThrow(path);
  });

  it("that is damaged is read in full or refused by the file's name, never anything else", async () => {
    const path = await fresh();
    await writeMask(
      path,
      new Map(tensors.map((tensor) => [tensor.name, Uint32Array.from({ length: 9 }, (_, i) => i)] as const)),
    );
    const good = readFileSync(path);
    let refused = 0;
    const place = fc.oneof(fc.nat(good.length - 1), fc.nat(15));
    const damages = fc.oneof(
      place.map((at) => good.subarray(0, at)),
      fc.array(fc.tuple(place, fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 6 }).map((flips) => {
        const damaged = Buffer.from(good);
        for (const [at, mask] of flips) damaged[at]! ^= mask;
        return damaged;
      }),
      fc.tuple(place, fc.constantFrom(2n ** 64n - 1n, 2n ** 53n, 2n ** 31n)).map(([at, claim]) => {
        const damaged = Buffer.from(good);
        damaged.writeBigUInt64LE(claim, Math.min(at, good.length - 8));
        return damaged;
      }),
    );
    fc.assert(
      fc.property(damages, (bytes) => {
        writeFileSync(path, bytes);
        try {
          const read = readMask(path, tensors);
          for (const tensor of tensors) {
            const elements = read.get(tensor.name)!;
            expect(
              [...elements].every((element, i) => element < sizeOf(tensor) && !(element <= elements[i - 1]!)),
            ).toBe(true);
          }
        } catch (error) {
          if (!(error instanceof ZerothError)) throw error;
          refused++;
          expect(messageOf(error)).toContain(path);
          expect(messageOf(error).split("\n").length).toBeLessThanOrEqual(2);
        }
      }),
      { numRuns: 300 },
    );
    expect(refused).toBeGreaterThan(150);
  });
});
