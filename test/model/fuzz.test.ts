import { writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ZerothError } from "../../src/errors.js";
import { openModel } from "../../src/model/open.js";
import { readSafetensorsHeader } from "../../src/model/safetensors.js";
import { makeTokenizer } from "../../src/model/tokenizer.js";
import { readTensorSync } from "../../src/model/weights.js";
import { damage, mutated, survives } from "../damage.js";
import { writeEncoder } from "./families/encoders.js";
import { tinyGguf } from "./gguf-file.js";
import { temporaryFolder, tokenizer, writeShards, writeTinyModel } from "./tiny.js";

const RUNS = Number(process.env.ZEROTH_FUZZ_RUNS ?? 300);

/** Damages a good file over and over; memory must stay about where it was. */
const fuzz = async (good: Buffer, open: (bytes: Buffer) => unknown): Promise<void> => {
  const before = process.memoryUsage().rss;
  await fc.assert(
    fc.asyncProperty(damage(good.length), (harm) => survives(() => open(harm(good)))),
    { numRuns: RUNS, ...(process.env.ZEROTH_FUZZ_RUNS === undefined ? { seed: 3 } : {}) },
  );
  expect(process.memoryUsage().rss - before).toBeLessThan(400 * 2 ** 20);
};

describe("damaged files are refused or read, never a crash", () => {
  it("safetensors: headers, and the tensors they allow", async () => {
    const folder = await temporaryFolder();
    await writeTinyModel(folder);
    const file = join(folder, "damaged.safetensors");
    await fuzz(await readFile(join(folder, "model.safetensors")), (bytes) => {
      writeFileSync(file, bytes);
      for (const source of readSafetensorsHeader(file)) readTensorSync(source);
    });
  });

  it("GGUF: metadata, tokenizer and tensors", async () => {
    const file = join(await temporaryFolder(), "damaged.gguf");
    await fuzz(tinyGguf([["tokenizer.chat_template", 8, "{{ messages[0].content }}"]]), async (bytes) => {
      writeFileSync(file, bytes);
      const { weights, tokenizer } = await openModel(file);
      for (const source of weights.values()) readTensorSync(source);
      tokenizer.encode("hello hello");
      tokenizer.chat?.([{ role: "user", content: "hello" }], { addGenerationPrompt: true });
    });
  });

  it("tokenizer.json", async () => {
    const folder = await temporaryFolder();
    await writeTinyModel(folder);
    await fuzz(Buffer.from(JSON.stringify(tokenizer)), async (bytes) => {
      writeFileSync(join(folder, "tokenizer.json"), bytes);
      (await openModel(folder)).tokenizer.encode("hello hello");
    });
  });
});

describe("files whose JSON no longer makes sense are refused or read, never a crash", () => {
  const words = ["the", "film", "was", "good", "bad", "."];
  const runs = { numRuns: Math.ceil(RUNS / 2) };

  it.each(["bert", "roberta"] as const)("tokenizer.json and tokenizer_config.json of %s", async (kind) => {
    const folder = await temporaryFolder();
    await writeEncoder(folder, kind, { words });
    const read = async (name: string) => JSON.parse(await readFile(join(folder, name), "utf8"));
    const config = { ...(await read("tokenizer_config.json")), bos_token: "<s>", eos_token: { content: "</s>" } };
    const files = { tokenizer: await read("tokenizer.json"), config };
    await fc.assert(
      fc.asyncProperty(mutated(files), ({ tokenizer = {}, config = {} }) =>
        survives(() => {
          const chatTemplate = "{{ bos_token }}{{ messages[0].content }}";
          const made = makeTokenizer({ tokenizer, config, chatTemplate, from: "tokenizer.json" });
          for (const text of ["the film was good", " bad", "", `so${made.mask?.text}.`])
            for (const special of [true, false]) made.decode(made.encode(text, { special }));
          made.pair("the film", "was bad");
          made.token(3);
          made.chat?.([{ role: "user", content: "the film" }], { addGenerationPrompt: true });
        }),
      ),
      runs,
    );
  });

  it("the index of shards", async () => {
    const folder = await temporaryFolder();
    await writeTinyModel(folder, ["model.safetensors"]);
    await writeShards(folder);
    const index = join(folder, "model.safetensors.index.json");
    const good = JSON.parse(await readFile(index, "utf8"));
    await fc.assert(
      fc.asyncProperty(mutated(good), (json) => {
        writeFileSync(index, JSON.stringify(json));
        return survives(() => openModel(folder));
      }),
      { numRuns: Math.ceil(RUNS / 8) },
    );
  });
});

describe("lying safetensors headers", () => {
  const header = (json: unknown, data = 64): Buffer => {
    const text = Buffer.from(typeof json === "string" ? json : JSON.stringify(json));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(text.length));
    return Buffer.concat([length, text, Buffer.alloc(data)]);
  };
  const a = { dtype: "F32", shape: [4], data_offsets: [0, 16] };
  const big = Number.MAX_SAFE_INTEGER;

  it.each([
    ["offsets past the end", { a: { ...a, shape: [100], data_offsets: [0, 400] } }, "a lies at bytes 0 to 400"],
    ["offsets backwards", { a: { ...a, data_offsets: [16, 0] } }, "a lies at bytes 16 to 0"],
    ["overlaps", { a, b: { ...a, data_offsets: [8, 24] } }, "a and b overlap"],
    ["the same place twice", { a, b: a }, "overlap"],
    ["size and shape disagree", { a: { ...a, shape: [5] } }, "a is F32 [5], 20 bytes, but takes 16"],
    ["size and dtype disagree", { a: { ...a, dtype: "F16" } }, "a is F16 [4], 8 bytes, but takes 16"],
    ["a shape beyond numbers", { a: { ...a, shape: [big, big, big] } }, "but takes 16"],
    ["a negative dimension", { a: { ...a, shape: [-4] } }, "the entry of a is malformed"],
    ["a dimension in parts", { a: { ...a, shape: [1.5] } }, "the entry of a is malformed"],
    ["no offsets", { a: { dtype: "F32", shape: [4] } }, "the entry of a is malformed"],
    ["an unknown dtype", { a: { ...a, dtype: "F8_E4M3" } }, "a has dtype F8_E4M3. Zeroth reads F32, F16, BF16"],
    ["no object", "[1]", "its header is not an object"],
    ["no JSON", "{nonsense", "its header is not JSON"],
  ])("%s", async (_, json, words) => {
    const file = join(await temporaryFolder(), "lie.safetensors");
    writeFileSync(file, header(json));
    expect(() => readSafetensorsHeader(file)).toThrow(ZerothError);
    expect(() => readSafetensorsHeader(file)).toThrow(words);
  });

  it("a length larger than the file, or than the format allows, is not believed", async () => {
    const file = join(await temporaryFolder(), "lie.safetensors");
    for (const claim of [2n ** 64n - 1n, 2n ** 40n, 100n]) {
      const bytes = header({ a });
      bytes.writeBigUInt64LE(claim);
      writeFileSync(file, bytes.subarray(0, 90));
      expect(() => readSafetensorsHeader(file)).toThrow(`claims ${claim} bytes`);
    }
  });

  it("tensors without elements and names that objects have of their own are fine", async () => {
    const file = join(await temporaryFolder(), "odd.safetensors");
    const none = { dtype: "F32", shape: [0, 7], data_offsets: [16, 16] };
    writeFileSync(file, header(`{"__proto__": ${JSON.stringify(a)}, "constructor": ${JSON.stringify(none)}}`));
    expect(readSafetensorsHeader(file).map(({ name, length }) => [name, length])).toEqual([
      ["__proto__", 16],
      ["constructor", 0],
    ]);
  });
});
