import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { type TensorToWrite, writeSafetensors } from "../../src/model/safetensors.js";

/** A folder that is gone when the test is over. */
export const temporaryFolder = async (): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), "zeroth-model-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
};

export const HIDDEN = 8;
export const WORDS = ["<s>", "</s>", "h", "e", "l", "o", "Ġ", "he", "ll", "hell", "hello", "Ġhello"];

export const config = {
  architectures: ["LlamaForCausalLM"],
  hidden_size: HIDDEN,
  intermediate_size: 16,
  max_position_embeddings: 64,
  model_type: "llama",
  num_attention_heads: 2,
  num_hidden_layers: 1,
  num_key_value_heads: 1,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: true,
  vocab_size: WORDS.length,
};

export const tokenizer = {
  version: "1.0",
  truncation: null,
  padding: null,
  added_tokens: [0, 1].map((id) => ({ id, content: WORDS[id], special: true, normalized: false })),
  normalizer: null,
  pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
  post_processor: null,
  decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
  model: {
    type: "BPE",
    unk_token: null,
    vocab: Object.fromEntries(WORDS.map((word, id) => [word, id])),
    merges: ["h e", "l l", "he ll", "hell o", "Ġ hello"],
  },
};

/** Names and shapes of the model that `config` describes, as a hub file has them. */
export const shapes: Readonly<Record<string, readonly number[]>> = {
  "model.embed_tokens.weight": [WORDS.length, HIDDEN],
  "model.layers.0.input_layernorm.weight": [HIDDEN],
  "model.layers.0.mlp.down_proj.weight": [HIDDEN, 16],
  "model.layers.0.mlp.gate_proj.weight": [16, HIDDEN],
  "model.layers.0.mlp.up_proj.weight": [16, HIDDEN],
  "model.layers.0.post_attention_layernorm.weight": [HIDDEN],
  "model.layers.0.self_attn.k_proj.weight": [4, HIDDEN],
  "model.layers.0.self_attn.o_proj.weight": [HIDDEN, HIDDEN],
  "model.layers.0.self_attn.q_proj.weight": [HIDDEN, HIDDEN],
  "model.layers.0.self_attn.v_proj.weight": [4, HIDDEN],
  "model.norm.weight": [HIDDEN],
};

/** Values that tell tensors, rows and columns apart. */
export const valuesOf = (name: string): Float32Array<ArrayBuffer> => {
  const place = Object.keys(shapes).indexOf(name);
  const size = (shapes[name] ?? []).reduce((product, dim) => product * dim, 1);
  return Float32Array.from({ length: size }, (_, i) => place + i / 256);
};

export const tensorToWrite = (name: string): TensorToWrite => ({
  name,
  shape: shapes[name] ?? [],
  dtype: "F32",
  bytes: () => new Uint8Array(valuesOf(name).buffer),
});

export const writeJson = (file: string, value: unknown): Promise<void> => writeFile(file, JSON.stringify(value));

/** Writes a model folder in the hub's layout; the parts named in `without` stay out. */
export const writeTinyModel = async (folder: string, without: readonly string[] = []): Promise<void> => {
  const files: Readonly<Record<string, unknown>> = {
    "config.json": config,
    "tokenizer.json": tokenizer,
    "tokenizer_config.json": { bos_token: "<s>", eos_token: { content: "</s>" } },
  };
  for (const [name, value] of Object.entries(files)) {
    if (!without.includes(name)) await writeJson(join(folder, name), value);
  }
  if (!without.includes("model.safetensors")) {
    await writeSafetensors(join(folder, "model.safetensors"), Object.keys(shapes).map(tensorToWrite));
  }
};

/** Writes its tensors as two shards with an index. */
export const writeShards = async (folder: string): Promise<void> => {
  const names = Object.keys(shapes);
  const shards = {
    "model-00001-of-00002.safetensors": names.slice(0, 5),
    "model-00002-of-00002.safetensors": names.slice(5),
  };
  for (const [file, held] of Object.entries(shards)) {
    await writeSafetensors(join(folder, file), held.map(tensorToWrite));
  }
  const weight_map = Object.fromEntries(
    Object.entries(shards).flatMap(([file, held]) => held.map((name) => [name, file])),
  );
  await writeJson(join(folder, "model.safetensors.index.json"), { metadata: {}, weight_map });
};
