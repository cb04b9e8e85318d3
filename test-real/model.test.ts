import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { WritableEncoding } from "../src/model/encodings.js";
import { bindFamily } from "../src/model/families/index.js";
import { type OpenModel, openModel } from "../src/model/open.js";
import { makeTokenizer } from "../src/model/tokenizer.js";
import { readTensorSync } from "../src/model/weights.js";
import { missing, scratchFolder, shared, smollm2, smollm2Gguf, writeHubFolder } from "./shared.js";

const valuesOf = (model: OpenModel, name: string): Float32Array => {
  const source = model.weights.get(name);
  if (source === undefined) throw new Error(`no tensor ${name}`);
  return readTensorSync(source);
};
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const json = (...path: readonly string[]) => JSON.parse(readFileSync(join(shared, ...path), "utf8"));

/** SHA-256 of tensors as numpy writes them: the `gguf` Python package's values, rotary rows put back, in fp32, bf16 and fp16. */
const published: Readonly<Record<string, Readonly<Record<WritableEncoding, string>>>> = {
  "model.embed_tokens.weight": {
    F32: "3fd491c8066dd9dc1a2bf6796701526c82817d95c0ecabacdef3013c2b8bbbaa",
    BF16: "0c8d76d0178f771e989a41b5965b452b7ccc0ef6c36d3d73b77e643dbe23264b",
    F16: "9b1126742d9d4e8bfc2a7af8bf2a06fc40877d52474e04ff8ce6ee3b91320cce",
  },
  "model.layers.0.self_attn.q_proj.weight": {
    F32: "54b377bbfa2deab945dfdba7fb59e0ca3eb74329358bd1b53b635b3ff37c1a56",
    BF16: "d0ff302d4d83d5be00ed3005dd0a57b703cbe9387bf474d3c66f42bd0b300f30",
    F16: "f7570331472462aa7227a73054fd648dadd758c17ee20001441f48114e439a65",
  },
  "model.layers.29.self_attn.k_proj.weight": {
    F32: "8e99b2450d5f3d53731f52790cc82f80b04341e533306bcfee6669ffa3c79921",
    BF16: "1a30db632e75f91a7b7ecde24f8d48e078e38904ea3c4f102cdecffd4b60d21f",
    F16: "3add446f638ab7f2f058c28a31907cf633ae178eb7f7339755c893e754ec2d18",
  },
  "model.layers.7.mlp.down_proj.weight": {
    F32: "9d3af8b67d13c727ae5ffe470464163b9cac42eb494525392bd3e79c8db73880",
    BF16: "cc9b5bdac6fdc1c35f70e38e67ca312a323f9dab6dd45eade722c63e5e8f5919",
    F16: "59f9ce56a6b853f56df178504f82df647e0188b16f72032aee4d80a472783d04",
  },
  "model.norm.weight": {
    F32: "3b87f8e27335e67fc08f159cabfd2d18f205d6c5b225a6f978153552bf01d559",
    BF16: "b1c3b88d13d30d192c39ca32dfc07aa9f333844fccae2e5b34d3f3572dd6c5f4",
    F16: "af91122c0c047899414d2081ba57a4999f306d5f3c77532e20ead3a4d68793f5",
  },
};

describe.skipIf(missing)("SmolLM2", () => {
  let lone: OpenModel;
  let beside: OpenModel;
  beforeAll(async () => {
    [lone, beside] = [await openModel(smollm2Gguf), await openModel(smollm2)];
  });

  it("GGUF: 272 tensors, as many and as large as the configuration says", () => {
    expect(lone.weights.size).toBe(272);
    expect(bindFamily(lone).parameters).toHaveLength(272);
    const { head_dim, rms_norm_eps, rope_theta, vocab_size, ...sizes } = lone.config;
    expect({ head_dim, rms_norm_eps, rope_theta, vocab_size }).toEqual({
      head_dim: 64,
      rms_norm_eps: beside.config.rms_norm_eps,
      rope_theta: 100000,
      vocab_size: 49152,
    });
    for (const [name, value] of Object.entries(sizes)) expect([name, value]).toEqual([name, beside.config[name]]);
    const encodings = new Set([...lone.weights.values()].map(({ encoding }) => encoding));
    expect(encodings).toEqual(new Set(["Q8_0", "Q4_1", "F32"]));
  });

  it.each(Object.keys(published))("GGUF: %s has the published values, bit for bit", (name) => {
    expect(sha256(new Uint8Array(valuesOf(lone, name).buffer))).toBe(published[name]?.F32);
  });

  it("61 texts become the reference's tokens, by the GGUF's own tokenizer and by tokenizer.json, and text again", () => {
    const { tokenized } = json("models", "smollm2-135m-instruct", "reference.json");
    expect(tokenized).toHaveLength(61);
    for (const { tokenizer } of [lone, beside]) {
      for (const { text, ids } of tokenized) {
        expect(tokenizer.encode(text)).toEqual(ids);
        expect(tokenizer.encode(text, { special: true })).toEqual(ids);
        expect(tokenizer.decode(ids)).toBe(text);
      }
    }
  });

  it("both tokenizers know the chat template", () => {
    const messages = [
      { role: "user", content: "Hi" },
      { role: "assistant", content: "Hello" },
    ];
    const [first, second] = [lone, beside].map(({ tokenizer }) =>
      tokenizer.chat?.(messages, { addGenerationPrompt: true }),
    );
    expect(first).toBe(second);
    expect(first).toMatch(
      /<\|im_start\|>user\nHi<\|im_end\|>\n<\|im_start\|>assistant\nHello<\|im_end\|>\n<\|im_start\|>assistant\n$/,
    );
    const special = lone.tokenizer.encode("<|im_start|>user");
    expect(special[0]).toBe(1);
  });

  it.each(["F32", "BF16", "F16"] as const)("the hub folder in %s: published bytes, and opens again", async (dtype) => {
    const folder = await scratchFolder(onTestFinished);
    await writeHubFolder(folder, dtype);
    const model = await openModel(folder);
    expect(model.weights.size).toBe(272);
    const file = await readFile(model.files[0] ?? "");
    for (const [name, hashes] of Object.entries(published)) {
      const { offset, length } = model.weights.get(name) ?? { offset: 0, length: 0 };
      expect([name, sha256(file.subarray(offset, offset + length))]).toEqual([name, hashes[dtype]]);
    }
    expect(file.readBigUInt64LE() % 64n).toBe(56n);
    expect(model.config).toEqual({
      ...beside.config,
      dtype: { F32: "float32", BF16: "bfloat16", F16: "float16" }[dtype],
    });
    expect(model.tokenizer.encode("great")).toEqual(beside.tokenizer.encode("great"));
    const norm = valuesOf(model, "model.norm.weight");
    const exact = valuesOf(lone, "model.norm.weight");
    const worst = norm.reduce((most, value, i) => Math.max(most, Math.abs(value / (exact[i] ?? 0) - 1)), 0);
    expect(worst).toBeLessThanOrEqual({ F32: 0, BF16: 2 ** -8, F16: 2 ** -11 }[dtype]);
  });
});

/** llama2.c's tokenizer file: u32 longest token, then for each token f32 score, u32 length, bytes (with spaces as spaces). */
const readTok = (file: string): readonly { piece: string; score: number }[] => {
  const bytes = readFileSync(file);
  const entries: { piece: string; score: number }[] = [];
  for (let at = 4; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at + 4);
    entries.push({ piece: bytes.toString("utf8", at + 8, at + 8 + length), score: bytes.readFloatLE(at) });
    at += 8 + length;
  }
  return entries;
};

/** llama2.c's encoder: letters (or their bytes), then the best-scored neighbours become one until none are a token. */
const encodeByScore = (entries: ReturnType<typeof readTok>, text: string): readonly number[] => {
  const ids = new Map(entries.map(({ piece }, id) => [piece, id]));
  const letters = [...` ${text}`].flatMap((letter) => {
    const id = ids.get(letter);
    return id === undefined ? [...Buffer.from(letter)].map((byte) => byte + 3) : [id];
  });
  for (;;) {
    let best: { at: number; id: number; score: number } | undefined;
    for (let at = 0; at + 1 < letters.length; at++) {
      const id = ids.get((entries[letters[at]!]?.piece ?? "") + (entries[letters[at + 1]!]?.piece ?? ""));
      const score = id === undefined ? Number.NEGATIVE_INFINITY : (entries[id]?.score ?? 0);
      if (id !== undefined && (best === undefined || score > best.score)) best = { at, id, score };
    }
    if (best === undefined) return letters;
    letters.splice(best.at, 2, best.id);
  }
};

describe.skipIf(missing)("stories260K, a GGUF that stands alone", () => {
  const place = join(shared, "models", "stories260K");
  let model: OpenModel;
  beforeAll(async () => {
    model = await openModel(join(place, "stories260K.gguf"));
  });

  it("its SentencePiece tokenizer encodes as the model's own program does, and back", () => {
    const entries = readTok(join(place, "tok512.bin"));
    const stories = readFileSync(join(shared, "data", "corpora", "tinystories-2MiB.txt"), "utf8").slice(0, 40_000);
    const lines = [
      ...stories.split("\n").filter((line) => line !== ""),
      "héllo wörld 你好",
      "a  b   c ",
      " lead",
      "x\ty",
    ];
    expect(lines.length).toBeGreaterThan(50);
    for (const line of lines) {
      const ids = model.tokenizer.encode(line);
      expect(ids).toEqual(encodeByScore(entries, line));
      expect(model.tokenizer.encode(line, { special: true })).toEqual([1, ...ids]);
      expect(model.tokenizer.decode(ids)).toBe(line);
    }
  });

  it("has the weights of the model's own binary, rotary rows in Hugging Face's order", () => {
    const bytes = readFileSync(join(place, "stories260K.bin"));
    const [dim = 0, , layers = 0, heads = 0, keyHeads = 0, vocabulary = 0] = Array.from({ length: 6 }, (_, i) =>
      bytes.readInt32LE(4 * i),
    );
    const floats = new Float32Array(bytes.buffer.slice(bytes.byteOffset + 28, bytes.byteOffset + bytes.length));
    let at = 0;
    const take = (size: number): Float32Array => {
      at += size;
      return floats.subarray(at - size, at);
    };
    const keyDim = (dim * keyHeads) / heads;
    const embedding = take(vocabulary * dim);
    take(layers * dim);
    const queries = take(layers * dim * dim);
    const keys = take(layers * keyDim * dim);
    const values = take(layers * keyDim * dim);
    expect(valuesOf(model, "model.embed_tokens.weight")).toEqual(embedding.slice());
    const size = dim / heads;
    for (let layer = 0; layer < layers; layer++) {
      const at = `model.layers.${layer}.self_attn`;
      expect(valuesOf(model, `${at}.v_proj.weight`)).toEqual(
        values.slice(layer * keyDim * dim, (layer + 1) * keyDim * dim),
      );
      for (const [kind, all, rows] of [
        ["q", queries, dim],
        ["k", keys, keyDim],
      ] as const) {
        const found = valuesOf(model, `${at}.${kind}_proj.weight`);
        for (let row = 0; row < rows; row++) {
          // The binary pairs neighbours; Hugging Face pairs row i of a head with row i + size/2.
          const [head, i] = [Math.floor(row / size), row % size];
          const source = head * size + (i < size / 2 ? 2 * i : 2 * (i - size / 2) + 1);
          const start = (layer * rows + source) * dim;
          expect(found.slice(row * dim, (row + 1) * dim)).toEqual(all.slice(start, start + dim));
        }
      }
    }
    expect(bindFamily(model).parameters).toHaveLength(3 + 9 * layers);
  });
});

describe.skipIf(missing)("a GGUF that was cut short", () => {
  it("is refused wherever it ends", async () => {
    const whole = readFileSync(join(shared, "models", "stories260K", "stories260K.gguf"));
    const file = join(await scratchFolder(onTestFinished), "short.gguf");
    for (let cut = 1; cut <= 40; cut++) {
      writeFileSync(file, whole.subarray(0, Math.floor((whole.length - 32) * (cut / 40) ** 3)));
      await expect(openModel(file)).rejects.toThrow(
        /short\.gguf is not a valid GGUF file[\s\S]*fetch or copy it again/,
      );
    }
  });
});

describe.skipIf(missing)("published tokenizers", () => {
  const tokenizerOf = (folder: string) => {
    const from = join(shared, "models", "tokenizers", folder);
    const read = (name: string) => JSON.parse(readFileSync(join(from, name), "utf8"));
    const config = readdirSync(from).includes("tokenizer_config.json") ? read("tokenizer_config.json") : {};
    return makeTokenizer({ tokenizer: read("tokenizer.json"), config, chatTemplate: undefined, from });
  };

  it("GPT-2 and BERT spell texts as published", () => {
    expect(tokenizerOf("gpt2").encode("Hello world")).toEqual([15496, 995]);
    const bert = tokenizerOf("bert-uncased-minilm");
    expect(bert.encode("Hello World")).toEqual([7592, 2088]);
    expect(bert.encode("Hello World", { special: true })).toEqual([101, 7592, 2088, 102]);
  });
});

describe.skipIf(missing)("fixtures", () => {
  const folders = missing
    ? []
    : readdirSync(join(shared, "fixtures")).filter((name) => !/-(r?s?lora|prefix|prompt)$|\./.test(name));

  it.each(folders)("%s: opens, and its tokenizer gives every text back", async (name) => {
    const model = await openModel(join(shared, "fixtures", name));
    expect(model.weights.size).toBeGreaterThan(10);
    for (const text of ["it was great", "  two  spaces\n\nand lines", "héllo 你好 🙂", "don't 2024!"]) {
      expect(model.tokenizer.decode(model.tokenizer.encode(text))).toBe(text);
    }
    for (const source of model.weights.values()) {
      expect(readTensorSync(source).every(Number.isFinite)).toBe(true);
    }
    expect(bindFamily(model).parameters.length).toBeGreaterThan(10);
  });

  it("an adapter folder is not a model, and says what to do", async () => {
    await expect(openModel(join(shared, "fixtures", "llama-lora"))).rejects.toThrow("--adapter");
  });
});
