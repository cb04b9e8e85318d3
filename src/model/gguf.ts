import { closeSync, fstatSync, openSync, readSync, realpathSync } from "node:fs";
import { messageOf, ZerothError } from "../errors.js";
import { type Encoding, encodings } from "./encodings.js";
import { ggufTokenizer } from "./gguf-tokenizer.js";
import type { Json } from "./json.js";
import type { OpenModel } from "./open.js";
import { makeTokenizer } from "./tokenizer.js";
import { elementsOf, type TensorSource } from "./weights.js";

/* GGUF (ggml's gguf.md), versions 2 and 3, little-endian: metadata, then where each tensor lies. */

const MAGIC = 0x46554747;
const LARGEST_HEADER = 2 ** 29;

/** ggml's numbers of the encodings that are read, and names of those that are not. */
const types: Readonly<Record<number, Encoding>> = {
  0: "F32",
  1: "F16",
  2: "Q4_0",
  3: "Q4_1",
  8: "Q8_0",
  12: "Q4_K",
  14: "Q6_K",
  30: "BF16",
};

export type GgufValue = number | bigint | boolean | string | readonly GgufValue[];
export type GgufMetadata = ReadonlyMap<string, GgufValue>;

/** A file read front to back, in pages; every length is checked against what is left. */
const cursor = (fd: number, size: number, bad: (what: string) => ZerothError) => {
  const PAGE = 2 ** 20;
  let page = new Uint8Array(0);
  let pageStart = 0;
  let at = 0;
  const take = (length: number): DataView => {
    if (length > size - at) throw bad(`it ends at byte ${size}, inside its header`);
    if (at + length > LARGEST_HEADER) throw bad("its header is larger than 512 MiB");
    if (at < pageStart || at + length > pageStart + page.length) {
      pageStart = at;
      page = new Uint8Array(Math.min(Math.max(length, PAGE), size - at));
      for (let done = 0; done < page.length; ) {
        const read = readSync(fd, page, done, page.length - done, pageStart + done);
        if (read === 0) throw bad("it ends too early");
        done += read;
      }
    }
    const view = new DataView(page.buffer, page.byteOffset + at - pageStart, length);
    at += length;
    return view;
  };
  const u32 = () => take(4).getUint32(0, true);
  const u64 = () => {
    const value = take(8).getBigUint64(0, true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw bad("a length in its header is absurd");
    return Number(value);
  };
  const text = () => {
    const view = take(u64());
    return new TextDecoder().decode(new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
  };
  return { take, u32, u64, text, left: () => size - at, place: () => at };
};
type Cursor = ReturnType<typeof cursor>;

const ARRAY = 9;
/** Readers of the metadata's scalar types by number. */
const scalars: Readonly<Record<number, (c: Cursor) => GgufValue>> = {
  0: (c) => c.take(1).getUint8(0),
  1: (c) => c.take(1).getInt8(0),
  2: (c) => c.take(2).getUint16(0, true),
  3: (c) => c.take(2).getInt16(0, true),
  4: (c) => c.u32(),
  5: (c) => c.take(4).getInt32(0, true),
  6: (c) => c.take(4).getFloat32(0, true),
  7: (c) => c.take(1).getUint8(0) !== 0,
  8: (c) => c.text(),
  10: (c) => c.take(8).getBigUint64(0, true),
  11: (c) => c.take(8).getBigInt64(0, true),
  12: (c) => c.take(8).getFloat64(0, true),
};

const readValue = (c: Cursor, type: number, bad: (what: string) => ZerothError): GgufValue => {
  if (type === ARRAY) {
    const inner = c.u32();
    const length = c.u64();
    const read = scalars[inner];
    if (read === undefined) throw bad(`a list of type ${inner} in its metadata`);
    // The smallest element takes a byte: a longer list cannot fit.
    if (length > c.left()) throw bad("a list in its metadata is longer than the file");
    return Array.from({ length }, () => read(c));
  }
  const read = scalars[type];
  if (read === undefined) throw bad(`type ${type} in its metadata`);
  return read(c);
};

export interface GgufTensor {
  readonly name: string;
  /** Rows first, as Hugging Face writes shapes. */
  readonly shape: readonly number[];
  readonly type: number;
  readonly offset: number;
}

/**
 * Reads a GGUF file's metadata and where its tensors lie.
 * @throws ZerothError when the file is no GGUF, is cut short, or claims impossible lengths
 */
export const readGguf = (path: string): { metadata: GgufMetadata; tensors: readonly TensorSource[] } => {
  let fd: number;
  let file: string;
  try {
    file = realpathSync(path);
    fd = openSync(file, "r");
  } catch (error) {
    throw new ZerothError(`${path} cannot be read: ${messageOf(error)}.`, { cause: error });
  }
  const bad = (what: string): ZerothError =>
    new ZerothError(`${path} is not a valid GGUF file: ${what}.\nIt is damaged or cut short: fetch or copy it again.`);
  try {
    const { size } = fstatSync(fd);
    if (size < 24) throw bad(size === 0 ? "it is empty" : `it has ${size} bytes`);
    const c = cursor(fd, size, bad);
    if (c.u32() !== MAGIC) throw bad("it does not begin with GGUF");
    const version = c.u32();
    if (version !== 2 && version !== 3) throw bad(`its version is ${version}; 2 and 3 are known`);
    const tensorCount = c.u64();
    const entryCount = c.u64();
    if (tensorCount > size || entryCount > size) throw bad("it claims more entries than it has bytes");
    const metadata = new Map<string, GgufValue>();
    for (let i = 0; i < entryCount; i++) {
      const key = c.text();
      metadata.set(key, readValue(c, c.u32(), bad));
    }
    const infos = Array.from({ length: tensorCount }, (): GgufTensor => {
      const name = c.text();
      const rank = c.u32();
      if (rank > 4) throw bad(`${name} has ${rank} dimensions`);
      const shape = Array.from({ length: rank }, () => c.u64()).reverse();
      return { name, shape, type: c.u32(), offset: c.u64() };
    });
    const alignment = Number(metadata.get("general.alignment") ?? 32);
    if (!(Number.isSafeInteger(alignment) && alignment >= 1)) throw bad(`its alignment is ${alignment}`);
    const start = Math.ceil(c.place() / alignment) * alignment;
    const tensors = infos.map(({ name, shape, type, offset }) => {
      const encoding = types[type];
      if (encoding === undefined) {
        throw new ZerothError(
          `${path}: ${name} has GGUF's type ${type}. Zeroth reads ${Object.values(types).join(", ")}.`,
        );
      }
      const { blockBytes, blockElements } = encodings[encoding];
      const elements = elementsOf(shape);
      if (!Number.isSafeInteger(elements) || elements % blockElements !== 0) throw bad(`${name} has shape [${shape}]`);
      const length = (elements / blockElements) * blockBytes;
      if (start + offset + length > size) throw bad(`${name} lies past the file's end`);
      return { name, shape, encoding, file, offset: start + offset, length };
    });
    return { metadata, tensors };
  } catch (error) {
    if (error instanceof ZerothError) throw error;
    throw bad(messageOf(error));
  } finally {
    closeSync(fd);
  }
};

/** llama.cpp's names within a block, and Hugging Face's. */
const blockNames: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  ffn_norm: "post_attention_layernorm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};
const outerNames: Readonly<Record<string, string>> = {
  "token_embd.weight": "model.embed_tokens.weight",
  "output_norm.weight": "model.norm.weight",
  "output.weight": "lm_head.weight",
};

const hubName = (name: string): string | undefined => {
  const [, layer, part = "", kind] = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(name) ?? [];
  const inner = blockNames[part];
  return layer === undefined || inner === undefined ? outerNames[name] : `model.layers.${layer}.${inner}.${kind}`;
};

/** The `config.json` that a Llama GGUF's metadata amounts to. */
const configOf = (metadata: GgufMetadata, path: string, tied: boolean, vocabulary: number): Json => {
  const required = (key: string): number => {
    const value = metadata.get(`llama.${key}`);
    if (typeof value !== "number" && typeof value !== "bigint")
      throw new ZerothError(`${path}: its metadata lacks llama.${key}.`);
    return Number(value);
  };
  const optional = (key: string): number | undefined => {
    const value = metadata.get(`llama.${key}`);
    return typeof value === "number" || typeof value === "bigint" ? Number(value) : undefined;
  };
  const heads = required("attention.head_count");
  const hidden = required("embedding_length");
  const headSize = optional("rope.dimension_count") ?? optional("attention.key_length") ?? hidden / heads;
  const factor = optional("rope.scaling.factor");
  const linear = metadata.get("llama.rope.scaling.type") === "linear" && factor !== undefined;
  return {
    model_type: "llama",
    architectures: ["LlamaForCausalLM"],
    hidden_act: "silu",
    hidden_size: hidden,
    intermediate_size: required("feed_forward_length"),
    num_hidden_layers: required("block_count"),
    num_attention_heads: heads,
    num_key_value_heads: optional("attention.head_count_kv") ?? heads,
    head_dim: headSize,
    rms_norm_eps: required("attention.layer_norm_rms_epsilon"),
    max_position_embeddings: required("context_length"),
    vocab_size: vocabulary,
    tie_word_embeddings: tied,
    rope_theta: optional("rope.freq_base") ?? 10000,
    ...(linear ? { rope_scaling: { rope_type: "linear", factor } } : {}),
  };
};

/**
 * Opens a lone GGUF file of the Llama family: configuration and tokenizer come from its metadata.
 * @throws ZerothError for another architecture, a damaged file, or a tensor in an encoding that is not read
 */
export const openGguf = (path: string, origin: OpenModel["origin"]): OpenModel => {
  const { metadata, tensors } = readGguf(path);
  const architecture = metadata.get("general.architecture");
  if (architecture !== "llama") {
    throw new ZerothError(
      `${path}: a GGUF of the architecture ${JSON.stringify(String(architecture))} is not supported.\nKnown: llama.`,
    );
  }
  if (tensors.some(({ name }) => name === "rope_freqs.weight")) {
    throw new ZerothError(
      `${path} scales its rotary frequencies by a tensor (rope_freqs), which is not supported.\nUse the model's Hugging Face folder, whose config.json says how.`,
    );
  }
  const named = tensors.flatMap((tensor): TensorSource[] => {
    const name = hubName(tensor.name);
    return name === undefined ? [] : [{ ...tensor, name }];
  });
  const embedding = named.find(({ name }) => name === "model.embed_tokens.weight");
  if (embedding === undefined) throw new ZerothError(`${path} has no token embedding (token_embd.weight).`);
  const tied = !named.some(({ name }) => name === "lm_head.weight");
  const config = configOf(metadata, path, tied, embedding.shape[0] ?? 0);
  const permuted: Readonly<Record<string, number>> = {
    q_proj: Number(config.num_attention_heads),
    k_proj: Number(config.num_key_value_heads),
  };
  const weights = new Map(
    named.map((source): [string, TensorSource] => {
      const heads = permuted[/\.(q_proj|k_proj)\.(weight|bias)$/.exec(source.name)?.[1] ?? ""];
      return [source.name, heads === undefined ? source : { ...source, permutedHeads: heads }];
    }),
  );
  const files = ggufTokenizer(metadata, path);
  return {
    origin,
    config,
    configFile: path,
    weights,
    files: [...new Set(named.map(({ file }) => file))],
    tokenizer: makeTokenizer(files),
    sidecars: () => [
      { name: "tokenizer.json", content: Buffer.from(JSON.stringify(files.tokenizer)) },
      { name: "tokenizer_config.json", content: Buffer.from(`${JSON.stringify(files.config, null, 2)}\n`) },
      ...(files.chatTemplate === undefined
        ? []
        : [{ name: "chat_template.jinja", content: Buffer.from(files.chatTemplate) }]),
    ],
  };
};
