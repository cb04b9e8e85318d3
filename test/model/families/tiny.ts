import { families } from "../../../src/model/families/index.js";
import type { BoundFamily } from "../../../src/model/family.js";

/* A tiny configuration of every family, as its config.json has it, and weights for it. */

const usual = {
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 10,
  rms_norm_eps: 1e-5,
  max_position_embeddings: 64,
};
const encoding = { ...usual, type_vocab_size: 2, layer_norm_eps: 1e-12 };

/** By a name of their own: some families come in more than one shape. */
export const tinyConfigs = {
  llama: { model_type: "llama", ...usual, tie_word_embeddings: true },
  "mistral with a window": { model_type: "mistral", ...usual, head_dim: 16, sliding_window: 5 },
  qwen2: { model_type: "qwen2", ...usual },
  "qwen2 with windows from the second block": {
    model_type: "qwen2",
    ...usual,
    use_sliding_window: true,
    sliding_window: 4,
    max_window_layers: 1,
  },
  qwen3: { model_type: "qwen3", ...usual, head_dim: 16 },
  phi3: { model_type: "phi3", ...usual },
  "phi3 with a part of each head turned": {
    model_type: "phi3",
    ...usual,
    partial_rotary_factor: 0.5,
    original_max_position_embeddings: 48,
    rope_scaling: { type: "longrope", short_factor: [1, 1.5], long_factor: [2, 5] },
  },
  gemma3: {
    model_type: "gemma3_text",
    ...usual,
    num_key_value_heads: 1,
    head_dim: 16,
    sliding_window: 5,
    query_pre_attn_scalar: 16,
    layer_types: ["sliding_attention", "full_attention", "sliding_attention"],
    final_logit_softcapping: 3,
    attn_logit_softcapping: 5,
  },
  gpt2: { model_type: "gpt2", n_embd: 32, n_layer: 3, n_head: 4, n_positions: 64, vocab_size: 10 },
  opt: { model_type: "opt", ...usual, ffn_dim: 48 },
  "opt with norms after": {
    model_type: "opt",
    ...usual,
    ffn_dim: 48,
    do_layer_norm_before: false,
    word_embed_proj_dim: 16,
  },
  roberta: { model_type: "roberta", ...encoding, max_position_embeddings: 66, type_vocab_size: 1 },
  bert: { model_type: "bert", ...encoding },
} as const;
export type TinyName = keyof typeof tinyConfigs;

/** @param has tensors of the file beside those that every model of the family has */
export const bindTiny = (name: TinyName, has: (tensor: string) => boolean = () => false): BoundFamily => {
  const config = tinyConfigs[name];
  const family = families.find(({ modelTypes }) => modelTypes.includes(config.model_type));
  if (family === undefined) throw new Error(`no family of ${config.model_type}`);
  return family.bind({ ...config }, has, "config.json");
};

/** Weights with some spread, the same each time. */
export const weightsOf = (name: string, shape: readonly number[]): Float32Array => {
  const seed = [...name].reduce((hash, letter) => (hash * 31 + letter.charCodeAt(0)) % 65_521, 1);
  const offset = /norm|ln_/i.test(name) ? 1 : 0;
  return Float32Array.from(
    { length: shape.reduce((a, b) => a * b, 1) },
    (_, i) => offset + 0.3 * Math.sin(seed + 12.9898 * i * i + i),
  );
};
