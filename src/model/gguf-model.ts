import { ZerothError } from "../errors.js";
import { oneLine } from "../one-line.js";
import { folderSidecars, readFolderConfig, readFolderGeneration, readFolderTokenizer } from "./folder.js";
import { type GgufMetadata, readGguf } from "./gguf.js";
import { ggufNames, hubName } from "./gguf-names.js";
import { ggufTokenizer } from "./gguf-tokenizer.js";
import type { Json } from "./json.js";
import type { OpenModel, Sidecar } from "./open.js";
import { makeTokenizer, type TokenizerFiles } from "./tokenizer.js";
import { readTensorSync, type TensorSource } from "./weights.js";

/* llama.cpp's names and metadata in Hugging Face's terms. */

/** Divisors of the rotary frequencies; the rest of the model is told of them by its configuration. */
export const ROTARY_FACTORS = "rope_freqs.weight";

const nameOf = (name: string, path: string): string => {
  const found = hubName(ggufNames.llama, name);
  if (found === undefined)
    throw new ZerothError(`${path} has a tensor ${oneLine(name)}, which no plain Llama model has: not supported.`);
  return found;
};

/** A reader of the architecture's own numbers in the metadata. */
const numbersOf =
  (metadata: GgufMetadata, path: string) =>
  (key: string): number | undefined => {
    const value = metadata.get(`llama.${key}`);
    if (value === undefined || typeof value === "number") return value;
    if (typeof value === "bigint") return Number(value);
    throw new ZerothError(`${path}: llama.${key} in its metadata is not one number: not supported.`);
  };

/** Llama 3.1's scaling with its published constants, as divisors of the frequencies. */
const llama3Factors = (theta: number, headSize: number, factor: number): readonly number[] =>
  Array.from({ length: headSize / 2 }, (_, i) => {
    const turns = (LLAMA3.original_max_position_embeddings * theta ** ((-2 * i) / headSize)) / (2 * Math.PI);
    const { low_freq_factor: low, high_freq_factor: high } = LLAMA3;
    const smooth = Math.min(1, Math.max(0, (turns - low) / (high - low)));
    return 1 / ((1 - smooth) / factor + smooth);
  });
const LLAMA3 = { rope_type: "llama3", low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };

/** The scaling that a tensor of divisors amounts to: Llama 3's by its largest divisor, or none. */
const scalingOf = (source: TensorSource, theta: number, headSize: number): Json | undefined => {
  const factors = source.length <= 4 * headSize ? readTensorSync(source) : new Float32Array();
  const factor = factors.reduce((most, one) => Math.max(most, one), 1);
  const expected = llama3Factors(theta, headSize, factor);
  const fits =
    factors.length === expected.length && expected.every((one, i) => Math.abs((factors[i] ?? 0) / one - 1) < 1e-4);
  if (!fits) {
    throw new ZerothError(
      `${source.file}: ${ROTARY_FACTORS} scales the rotary frequencies in a way that is not Llama 3's: not supported.\nUse the model's Hugging Face folder, whose config.json says how.`,
    );
  }
  return factor === 1 ? undefined : { ...LLAMA3, factor };
};

/** The `config.json` that a Llama GGUF's metadata and tensors amount to. */
const configOf = (metadata: GgufMetadata, tensors: ReadonlyMap<string, TensorSource>, path: string): Json => {
  const optional = numbersOf(metadata, path);
  const required = (key: string): number => {
    const value = optional(key);
    if (value === undefined) throw new ZerothError(`${path}: its metadata lacks llama.${key}.`);
    return value;
  };
  const embedding = tensors.get("token_embd.weight");
  if (embedding === undefined) throw new ZerothError(`${path} has no token embedding (token_embd.weight).`);
  const [vocabulary = 0] = embedding.shape;
  const heads = required("attention.head_count");
  const hidden = required("embedding_length");
  const headSize = optional("attention.key_length") ?? hidden / heads;
  if ((optional("rope.dimension_count") ?? headSize) !== headSize) {
    throw new ZerothError(`${path} turns only a part of each head (llama.rope.dimension_count): not supported.`);
  }
  const theta = optional("rope.freq_base") ?? 10000;
  const kind = metadata.get("llama.rope.scaling.type") ?? "none";
  const factors = tensors.get(ROTARY_FACTORS);
  const scaling =
    factors !== undefined
      ? scalingOf(factors, theta, headSize)
      : kind === "none"
        ? undefined
        : { rope_type: String(kind), factor: optional("rope.scaling.factor") ?? 1 };
  const token = (name: string): Json => {
    const id = metadata.get(`tokenizer.ggml.${name}_token_id`);
    // llama.cpp writes 2³² − 1 where there is none.
    return typeof id === "number" && id < vocabulary ? { [`${name === "padding" ? "pad" : name}_token_id`]: id } : {};
  };
  return {
    architectures: ["LlamaForCausalLM"],
    attention_bias: tensors.has("blk.0.attn_q.bias"),
    ...token("bos"),
    ...token("eos"),
    ...token("padding"),
    head_dim: headSize,
    hidden_act: "silu",
    hidden_size: hidden,
    intermediate_size: required("feed_forward_length"),
    max_position_embeddings: required("context_length"),
    mlp_bias: tensors.has("blk.0.ffn_gate.bias"),
    model_type: "llama",
    num_attention_heads: heads,
    num_hidden_layers: required("block_count"),
    num_key_value_heads: optional("attention.head_count_kv") ?? heads,
    rms_norm_eps: required("attention.layer_norm_rms_epsilon"),
    ...(scaling === undefined ? {} : { rope_scaling: scaling }),
    rope_theta: theta,
    tie_word_embeddings: !tensors.has("output.weight"),
    vocab_size: vocabulary,
  };
};

const json = (name: string, value: Json): Sidecar => ({
  name,
  content: Buffer.from(`${JSON.stringify(value, null, 2)}\n`),
});

/** A tokenizer's files in Hugging Face's layout. */
const tokenizerSidecars = ({ tokenizer, config, chatTemplate }: TokenizerFiles): readonly Sidecar[] => [
  json("tokenizer.json", tokenizer),
  json("tokenizer_config.json", config),
  ...(chatTemplate === undefined ? [] : [{ name: "chat_template.jinja", content: Buffer.from(chatTemplate) }]),
];

/**
 * Opens a GGUF file of the Llama family. Configuration and tokenizer come from its metadata, unless a folder is given that
 * holds them.
 *
 * @throws ZerothError for another architecture, a damaged file, or tensors that are not supported
 */
export const openGguf = (path: string, origin: OpenModel["origin"], folder?: string): OpenModel => {
  const { metadata, tensors } = readGguf(path);
  const architecture = metadata.get("general.architecture");
  if (architecture !== "llama") {
    const found = JSON.stringify(String(architecture ?? "not said").slice(0, 40));
    throw new ZerothError(`${path}: a GGUF of the architecture ${found} is not supported.\nKnown: llama.`);
  }
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const made = configOf(metadata, byName, path);
  const permuted: Readonly<Record<string, unknown>> = {
    q_proj: made.num_attention_heads,
    k_proj: made.num_key_value_heads,
  };
  const weights = new Map(
    tensors
      .filter(({ name }) => name !== ROTARY_FACTORS)
      .map((tensor): [string, TensorSource] => {
        const name = nameOf(tensor.name, path);
        const heads = permuted[/\.(q_proj|k_proj)\.(weight|bias)$/.exec(name)?.[1] ?? ""];
        return [name, { ...tensor, name, ...(typeof heads === "number" ? { permutedHeads: heads } : {}) }];
      }),
  );
  const beside = folder === undefined ? undefined : readFolderTokenizer(folder);
  const tokenizer = beside ?? ggufTokenizer(metadata, path);
  return {
    origin,
    ...((folder === undefined ? undefined : readFolderConfig(folder)) ?? { config: made, configFile: path }),
    generation: folder === undefined ? {} : readFolderGeneration(folder),
    weights,
    files: [...new Set([...weights.values()].map(({ file }) => file))],
    tokenizer: makeTokenizer(tokenizer),
    tokenizerFiles: tokenizer,
    sidecars: () =>
      beside === undefined || folder === undefined ? tokenizerSidecars(tokenizer) : folderSidecars(folder),
  };
};
