import { existsSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { exportModel } from "../../src/api/export.js";
import { load, type Model } from "../../src/api/load.js";
import { merge } from "../../src/api/merge.js";
import { readGguf } from "../../src/model/gguf/file.js";
import type { TensorSource } from "../../src/model/weights.js";
import { readTensorSync } from "../../src/model/weights.js";
import { loraNames } from "../../src/peft/lora.js";
import { logitsOf } from "../logits.js";
import { weightsOf } from "../model/families/tiny.js";
import { floats, ggufBytes, integers, modelEntries, modelTensors, permuteRows, strings } from "../model/gguf-file.js";
import { temporaryFolder, WORDS, writeJson } from "../model/tiny.js";
import { openTiny, writeLora } from "./models.js";

const seedling = fileURLToPath(new URL("../../assets/seedling", import.meta.url));
const file = async (): Promise<string> => join(await temporaryFolder(), "model.gguf");
const valuesIn = (sources: ReadonlyMap<string, TensorSource>, name: string): Float32Array => {
  const source = sources.get(name);
  if (source === undefined) throw new Error(`no tensor ${name}`);
  return readTensorSync(source);
};
const tensorsIn = (path: string): ReadonlyMap<string, TensorSource> =>
  new Map(readGguf(path).tensors.map((tensor) => [tensor.name, tensor]));
/** Bit for bit; the matcher of arrays takes minutes over a model. */
const isSame = (a: Float32Array, b: Float32Array): boolean => Buffer.from(a.buffer).equals(Buffer.from(b.buffer));
const largest = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - (b[i] ?? Number.NaN))), 0);

describe("a model as GGUF", () => {
  it("opens again as the very same model: weights bit for bit, configuration, tokens", async () => {
    const model = await load(seedling);
    const out = await file();
    expect(await exportModel(model, { format: "gguf", out })).toEqual({
      ...{ out, format: "gguf", tensors: 56, survivingChanges: 1 },
    });
    const again = await load(out);
    expect(new Set(again.files.weights.keys())).toEqual(new Set(model.family.parameters.map(({ name }) => name)));
    for (const { name } of model.family.parameters)
      expect(isSame(valuesIn(again.files.weights, name), valuesIn(model.files.weights, name)), name).toBe(true);
    const numbers = ["hidden_size", "num_key_value_heads", "head_dim", "rope_theta", "tie_word_embeddings"];
    for (const key of numbers) expect(again.files.config[key], key).toEqual(model.files.config[key]);
    expect(again.family.contextLength).toBe(model.family.contextLength);
    const text = "The film was 90 minutes long, and it's great!\n\n  Two  spaces…";
    for (const special of [true, false])
      expect(again.files.tokenizer.encode(text, { special })).toEqual(model.files.tokenizer.encode(text, { special }));
  });

  it.each([
    ["llama", {}],
    ["mistral with a window", {}],
    ["qwen2", {}],
    ["qwen3", { rope_scaling: { rope_type: "linear", factor: 2 } }],
    ["phi3", { partial_rotary_factor: 0.5 }],
    ["gemma3", { attn_logit_softcapping: null, final_logit_softcapping: null, rope_local_base_freq: 7000 }],
    ["gpt2", { layer_norm_epsilon: 1e-3 }],
  ] as const)("%s opens again, and computes the same", async (name, more) => {
    const model = await openTiny(name, more);
    const out = await file();
    await exportModel(model, { format: "gguf", out });
    const again = await load(out);
    const named = ({ family }: Model) => new Map(family.parameters.map(({ name, shape }) => [name, shape]));
    expect(named(again)).toEqual(named(model));
    const rows = [[3, 1, 4, 1, 5], [9, 2, 6, 5, 3].map((id) => id % WORDS.length), [7]];
    const [found, wanted] = [await logitsOf(again, rows), await logitsOf(model, rows)];
    for (const [i, row] of wanted.entries()) {
      expect(row.some((value) => Math.abs(value) > 1e-2)).toBe(true);
      // Numbers of the metadata are floats, and Gemma's norms are rounded with one more.
      expect(largest(found[i] ?? new Float32Array(), row)).toBeLessThan(1e-5);
    }
  });

  it("in float16 matrices take two bytes and vectors four, as llama.cpp wants them; equal models give equal bytes", async () => {
    const model = await openTiny("llama");
    const [out, second] = [await file(), await file()];
    for (const one of [out, second]) await exportModel(model, { format: "gguf", out: one, dtype: "float16" });
    expect(readFileSync(out).equals(readFileSync(second))).toBe(true);
    const again = await load(out);
    for (const { name, shape } of model.family.parameters) {
      const source = again.files.weights.get(name);
      expect(source?.encoding, name).toBe(shape.length === 1 ? "F32" : "F16");
      expect(largest(valuesIn(again.files.weights, name), weightsOf(name, shape))).toBeLessThan(2 ** -11);
    }
    expect(readGguf(out).metadata.get("general.file_type")).toBe(1);
  });

  it("rows of queries and keys lie in llama.cpp's order, those of values as they were", async () => {
    const out = await file();
    await exportModel(await openTiny("llama"), { format: "gguf", out });
    const tensors = tensorsIn(out);
    const at = "model.layers.1.self_attn";
    const original = (name: string, rows: number) => weightsOf(`${at}.${name}_proj.weight`, [rows, 32]);
    expect(valuesIn(tensors, "blk.1.attn_q.weight")).toEqual(permuteRows(original("q", 32), 32, 4));
    expect(valuesIn(tensors, "blk.1.attn_k.weight")).toEqual(permuteRows(original("k", 16), 16, 2));
    expect(valuesIn(tensors, "blk.1.attn_v.weight")).toEqual(original("v", 16));
  });

  it("with an adapter it is the merged model, and tells what rounding kept", async () => {
    const model = await openTiny("llama");
    const shape = { rank: 2, inputs: 32, outputs: 32 };
    const modules = [0, 2].map((layer) => ({ module: `model.layers.${layer}.self_attn.q_proj`, ...shape }));
    const adapter = await writeLora(modules, { r: 2, lora_alpha: 3 });
    const [out, folder] = [await file(), join(await temporaryFolder(), "merged")];
    await exportModel(model, { format: "gguf", out, adapter });
    await merge(model, { adapter, out: folder });
    const [again, merged] = [await load(out), await load(folder)];
    for (const { name } of model.family.parameters)
      expect(isSame(valuesIn(again.files.weights, name), valuesIn(merged.files.weights, name)), name).toBe(true);
    const small = await writeLora(modules, { r: 2, lora_alpha: 1e-3 });
    const { survivingChanges } = await exportModel(model, {
      ...{ format: "gguf", out: await file(), adapter: small, dtype: "bfloat16" },
    });
    expect(survivingChanges).toBeGreaterThan(0);
    expect(survivingChanges).toBeLessThan(0.5);
  });

  it("Llama 3's rotary scaling becomes divisors of the frequencies", async () => {
    const rope_scaling = {
      ...{ rope_type: "llama3", factor: 4, low_freq_factor: 1, high_freq_factor: 4 },
      original_max_position_embeddings: 16,
    };
    const out = await file();
    await exportModel(await openTiny("llama", { rope_scaling }), { format: "gguf", out });
    // Waves of 2π and 63 tokens at head size 8 and base 10000: the first is shorter than 16/4… between the bounds; the others are longer than 16.
    const wave = 2 * Math.PI;
    const smooth = (16 / wave - 1) / (4 - 1);
    const first = 1 / ((1 - smooth) / 4 + smooth);
    expect([...valuesIn(tensorsIn(out), "rope_freqs.weight")].map((value) => value.toFixed(5))).toEqual(
      [first, 4, 4, 4].map((value) => value.toFixed(5)),
    );
  });

  it("GPT-2's matrices are turned, its positions stay in fp32", async () => {
    const out = await file();
    await exportModel(await openTiny("gpt2"), { format: "gguf", out, dtype: "float16" });
    const tensors = tensorsIn(out);
    const turned = weightsOf("transformer.h.2.mlp.c_fc.weight", [32, 128]);
    const up = valuesIn(tensors, "blk.2.ffn_up.weight");
    expect(tensors.get("blk.2.ffn_up.weight")?.shape).toEqual([128, 32]);
    for (const [o, i] of [
      [0, 0],
      [5, 3],
      [127, 31],
    ] as const)
      expect(up[o * 32 + i]).toBeCloseTo(turned[i * 128 + o] ?? Number.NaN, 3);
    expect(tensors.get("position_embd.weight")?.encoding).toBe("F32");
    expect(readGguf(out).metadata.get("gpt2.attention.layer_norm_epsilon")).toBeCloseTo(1e-5, 10);
    expect(readGguf(out).metadata.get("gpt2.feed_forward_length")).toBe(128);
  });

  it("Qwen's heads keep their order, and their norms have names", async () => {
    const out = await file();
    await exportModel(await openTiny("qwen3"), { format: "gguf", out });
    const tensors = tensorsIn(out);
    const q = "model.layers.0.self_attn.q_proj.weight";
    expect(valuesIn(tensors, "blk.0.attn_q.weight")).toEqual(weightsOf(q, [64, 32]));
    expect(tensors.get("blk.0.attn_k_norm.weight")?.shape).toEqual([16]);
    expect(readGguf(out).metadata.get("general.architecture")).toBe("qwen3");
  });

  it("a window bounds the context that is promised", async () => {
    const out = await file();
    await exportModel(await openTiny("mistral with a window"), { format: "gguf", out });
    expect(readGguf(out).metadata.get("llama.context_length")).toBe(5);
  });

  it("SentencePiece's merges come back from the scores that are written", async () => {
    const words = ["<unk>", "<s>", "</s>", ...WORDS.slice(2, 6), ...WORDS.slice(7, 9), "▁", "hell", "hello"];
    const entries = [
      ["tokenizer.ggml.model", 8, "llama"],
      ["tokenizer.ggml.tokens", strings, words],
      ["tokenizer.ggml.scores", floats, words.map((_, id) => -id)],
      ["tokenizer.ggml.token_type", integers, words.map((_, id) => (id === 0 ? 2 : id < 3 ? 3 : 1))],
      ["tokenizer.ggml.bos_token_id", 4, 1],
      ["tokenizer.ggml.eos_token_id", 4, 2],
    ] as const;
    const first = await file();
    await writeFile(first, ggufBytes([...modelEntries, ...entries], modelTensors()));
    const model = await load(first);
    const out = await file();
    await exportModel(model, { format: "gguf", out });
    const again = await load(out);
    expect(again.files.tokenizerFiles.tokenizer).toEqual(model.files.tokenizerFiles.tokenizer);
    expect(again.files.tokenizer.encode("hello", { special: true })).toEqual([1, 9, 11]);
  });
});

describe("a LoRA adapter as GGUF", () => {
  const at = (layer: number, name: string) => `model.layers.${layer}.self_attn.${name}_proj`;
  const q = { module: at(0, "q"), rank: 2, inputs: 32, outputs: 32 };
  const v = { module: at(1, "v"), rank: 4, inputs: 32, outputs: 16 };
  const lora = async (config: Readonly<Record<string, unknown>>): Promise<string> => {
    const out = await file();
    const adapter = await writeLora([q, v], config);
    await exportModel(await openTiny("llama"), { format: "gguf", out, adapter, adapterOnly: true });
    return out;
  };

  it("has llama.cpp's metadata, names and shapes; B's rows follow those of the weight", async () => {
    const out = await lora({ r: 2, lora_alpha: 6, rank_pattern: { v_proj: 4 } });
    const { metadata, tensors } = readGguf(out);
    expect(Object.fromEntries(metadata)).toMatchObject({
      ...{ "general.architecture": "llama", "general.type": "adapter" },
      ...{ "adapter.type": "lora", "adapter.lora.alpha": 6 },
    });
    expect(tensors.map(({ name, shape }) => [name, shape])).toEqual([
      ["blk.0.attn_q.weight.lora_a", [2, 32]],
      ["blk.0.attn_q.weight.lora_b", [32, 2]],
      ["blk.1.attn_v.weight.lora_a", [4, 32]],
      ["blk.1.attn_v.weight.lora_b", [16, 4]],
    ]);
    const found = tensorsIn(out);
    const b = weightsOf(loraNames(q.module).b, [32, 2]);
    expect(valuesIn(found, "blk.0.attn_q.weight.lora_b")).toEqual(permuteRows(b, 32, 4));
    expect(valuesIn(found, "blk.0.attn_q.weight.lora_a")).toEqual(weightsOf(loraNames(q.module).a, [2, 32]));
    expect(valuesIn(found, "blk.1.attn_v.weight.lora_b")).toEqual(weightsOf(loraNames(v.module).b, [16, 4]));
  });

  it("scales that one alpha does not give go into B: alpha / rank · B is each module's own scale", async () => {
    const out = await lora({ r: 2, lora_alpha: 6, rank_pattern: { v_proj: 4 }, use_rslora: true });
    const alpha = Number(readGguf(out).metadata.get("adapter.lora.alpha"));
    const found = tensorsIn(out);
    for (const [{ module, outputs, rank }, name] of [
      [q, "blk.0.attn_q"],
      [v, "blk.1.attn_v"],
    ] as const) {
      const b = weightsOf(loraNames(module).b, [outputs, rank]);
      const ordered = module === q.module ? permuteRows(b, outputs, 4) : b;
      const scaled = valuesIn(found, `${name}.weight.lora_b`).map((value) => (value * alpha) / rank);
      const wanted = ordered.map((value) => (value * 6) / Math.sqrt(rank));
      expect(largest(scaled, wanted)).toBeLessThan(1e-6);
    }
  });
});

describe("what has no GGUF form", () => {
  const refused = async (model: Model, more: { adapterOnly?: boolean; out?: string } = {}): Promise<string> => {
    const out = more.out ?? (await file());
    const was = existsSync(out);
    const thrown: unknown = await exportModel(model, { format: "gguf", ...more, out }).catch((error: unknown) => error);
    expect(thrown).toMatchObject({ name: "ZerothError" });
    expect(existsSync(out)).toBe(was);
    return (thrown as Error).message;
  };

  it.each([
    ["opt", "not for opt"],
    ["gemma3", "softcapping"],
    ["bert", "not for bert"],
    ["phi3 with a part of each head turned", "longrope"],
  ] as const)("%s, in a sentence", async (name, words) => {
    expect(await refused(await openTiny(name))).toContain(words);
  });

  it("a tokenizer that llama.cpp would cut text with in another way", async () => {
    const model = await openTiny("llama");
    const { tokenizerFiles } = model.files;
    const withTokenizer = (change: Readonly<Record<string, unknown>>): Model => ({
      ...model,
      files: {
        ...model.files,
        tokenizerFiles: { ...tokenizerFiles, tokenizer: { ...tokenizerFiles.tokenizer, ...change } },
      },
    });
    const own = { type: "Split", pattern: { Regex: "\\w+" }, behavior: "Isolated", invert: false };
    const bytes = { type: "ByteLevel", add_prefix_space: false, use_regex: false };
    expect(
      await refused(withTokenizer({ pre_tokenizer: { type: "Sequence", pretokenizers: [own, bytes] } })),
    ).toContain("no name for the way it cuts text");
    expect(await refused(withTokenizer({ model: { type: "Unigram", vocab: [["a", 0]] } }))).toContain("byte-pair");
    // A normalizer that its files do not tell of is found out by what it does.
    const { model: bpe } = tokenizerFiles.tokenizer as { model: { merges: readonly string[] } };
    expect(await refused(withTokenizer({ model: { ...bpe, merges: bpe.merges.slice(1) } }))).toContain("another way");
  });

  it("a file that is there already; an adapter by itself that is not given", async () => {
    const model = await openTiny("llama");
    const folder = await temporaryFolder();
    await writeJson(join(folder, "a.gguf"), {});
    expect(await refused(model, { out: join(folder, "a.gguf") })).toContain("is there already");
    expect(await refused(model, { adapterOnly: true })).toContain("--adapter");
  });
});
