import { HIDDEN, shapes, valuesOf, WORDS } from "./tiny.js";

/* A writer of small GGUF files, for tests: metadata as [key, type, value], types by ggml's numbers. */

type Entry = readonly [key: string, type: number | readonly [9, number], value: unknown];
export interface TensorEntry {
  readonly name: string;
  /** Rows first. */
  readonly shape: readonly number[];
  readonly type: number;
  readonly data: Uint8Array;
}

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const u64 = (value: number | bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};
const f32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
};
const text = (value: string): Buffer => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);

const scalar = (type: number, value: unknown): Buffer => {
  if (type === 2) return u32(Number(value)).subarray(0, 2);
  if (type === 4) return u32(Number(value));
  if (type === 5) return u32(Number(value) >>> 0);
  if (type === 6) return f32(Number(value));
  if (type === 7) return Buffer.of(value === true ? 1 : 0);
  if (type === 8) return text(String(value));
  return u64(value as number | bigint);
};

const entry = ([key, type, value]: Entry): Buffer => {
  if (typeof type === "number") return Buffer.concat([text(key), u32(type), scalar(type, value)]);
  const [list, inner] = type;
  const values = value as readonly unknown[];
  const head = [text(key), u32(list), u32(inner), u64(values.length)];
  return Buffer.concat([...head, ...values.map((one) => scalar(inner, one))]);
};

const padded = (bytes: Uint8Array, alignment: number): Buffer =>
  Buffer.concat([bytes, Buffer.alloc((alignment - (bytes.length % alignment)) % alignment)]);

export const ggufBytes = (entries: readonly Entry[], tensors: readonly TensorEntry[], version = 3): Buffer => {
  let at = 0;
  const infos = tensors.map(({ name, shape, type, data }) => {
    const info = [text(name), u32(shape.length), ...shape.toReversed().map(u64), u32(type), u64(at)];
    at += Math.ceil(data.length / 32) * 32;
    return Buffer.concat(info);
  });
  const head = [Buffer.from("GGUF"), u32(version), u64(tensors.length), u64(entries.length)];
  const header = Buffer.concat([...head, ...entries.map(entry), ...infos]);
  return Buffer.concat([padded(header, 32), ...tensors.map(({ data }) => padded(data, 32))]);
};

/** Hugging Face's order of rotary rows (h, half, pair) to GGUF's (h, pair, half), row by row as the definition has it. */
export const permuteRows = (data: Float32Array, rows: number, heads: number): Float32Array => {
  const [width, size] = [data.length / rows, rows / heads];
  const out = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    const [head, place] = [Math.floor(row / size), row % size];
    const [half, pair] = [Math.floor(place / (size / 2)), place % (size / 2)];
    const to = head * size + 2 * pair + half;
    out.set(data.subarray(row * width, (row + 1) * width), to * width);
  }
  return out;
};

const names: Readonly<Record<string, string>> = {
  "model.embed_tokens.weight": "token_embd.weight",
  "model.layers.0.input_layernorm.weight": "blk.0.attn_norm.weight",
  "model.layers.0.mlp.down_proj.weight": "blk.0.ffn_down.weight",
  "model.layers.0.mlp.gate_proj.weight": "blk.0.ffn_gate.weight",
  "model.layers.0.mlp.up_proj.weight": "blk.0.ffn_up.weight",
  "model.layers.0.post_attention_layernorm.weight": "blk.0.ffn_norm.weight",
  "model.layers.0.self_attn.k_proj.weight": "blk.0.attn_k.weight",
  "model.layers.0.self_attn.o_proj.weight": "blk.0.attn_output.weight",
  "model.layers.0.self_attn.q_proj.weight": "blk.0.attn_q.weight",
  "model.layers.0.self_attn.v_proj.weight": "blk.0.attn_v.weight",
  "model.norm.weight": "output_norm.weight",
};

const STRING = 8;
export const strings = [9, STRING] as const;
export const integers = [9, 5] as const;
export const floats = [9, 6] as const;

export const modelEntries: readonly Entry[] = [
  ["general.architecture", STRING, "llama"],
  ["llama.block_count", 4, 1],
  ["llama.context_length", 4, 64],
  ["llama.embedding_length", 4, HIDDEN],
  ["llama.feed_forward_length", 4, 16],
  ["llama.attention.head_count", 4, 2],
  ["llama.attention.head_count_kv", 4, 1],
  ["llama.attention.layer_norm_rms_epsilon", 6, 1e-5],
  ["llama.rope.freq_base", 6, 500000],
];

export const tokenizerEntries: readonly Entry[] = [
  ["tokenizer.ggml.model", STRING, "gpt2"],
  ["tokenizer.ggml.pre", STRING, "smollm"],
  ["tokenizer.ggml.tokens", strings, WORDS],
  ["tokenizer.ggml.token_type", integers, WORDS.map((_, id) => (id < 2 ? 3 : 1))],
  ["tokenizer.ggml.merges", strings, ["h e", "l l", "he ll", "hell o", "Ġ hello"]],
  ["tokenizer.ggml.bos_token_id", 4, 0],
  ["tokenizer.ggml.eos_token_id", 4, 1],
  ["tokenizer.ggml.padding_token_id", 4, 2 ** 32 - 1],
];

/** The tiny model's tensors as llama.cpp stores them. */
export const modelTensors = (): readonly TensorEntry[] =>
  Object.entries(shapes).map(([name, shape]) => {
    const heads = name.includes("q_proj") ? 2 : name.includes("k_proj") ? 1 : undefined;
    const values = valuesOf(name);
    const stored = heads === undefined ? values : permuteRows(values, shape[0] ?? 1, heads);
    return { name: names[name] ?? name, shape, type: 0, data: new Uint8Array(stored.buffer) };
  });

export const tinyGguf = (extra: readonly Entry[] = [], more: readonly TensorEntry[] = []): Buffer =>
  ggufBytes([...modelEntries, ...tokenizerEntries, ...extra], [...modelTensors(), ...more]);

/** The same in three files, as llama.cpp's gguf-split leaves them: the first without tensors, the second with all but one of them. */
export const tinyShards = (): ReadonlyMap<string, Buffer> => {
  const tensors = modelTensors();
  const parts = [[], tensors.slice(0, -1), tensors.slice(-1)];
  const split = (i: number): readonly Entry[] => [
    ["split.no", 2, i],
    ["split.count", 2, parts.length],
    ["split.tensors.count", 5, tensors.length],
  ];
  const whole = [...modelEntries, ...tokenizerEntries];
  return new Map(
    parts.map((part, i) => [
      `tiny-0000${i + 1}-of-00003.gguf`,
      ggufBytes([...(i === 0 ? whole : []), ...split(i)], part),
    ]),
  );
};

export const f32Tensor = (name: string, values: readonly number[]): TensorEntry => ({
  name,
  shape: [values.length],
  type: 0,
  data: new Uint8Array(Float32Array.from(values).buffer),
});
