/* llama.cpp's names of tensors, and Hugging Face's. */

/** One architecture's: within a block, and outside of them. */
export interface GgufNames {
  /** Path of the blocks. */
  readonly blocks: string;
  /** llama.cpp's part of `blk.N.PART.weight` to the module's path within the block. */
  readonly block: Readonly<Record<string, string>>;
  /** llama.cpp's whole name to Hugging Face's. */
  readonly outer: Readonly<Record<string, string>>;
}

const attention = {
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
};
const headNorms = { attn_q_norm: "self_attn.q_norm", attn_k_norm: "self_attn.k_norm" };
const norms = { attn_norm: "input_layernorm", ffn_norm: "post_attention_layernorm" };
const gated = { ffn_gate: "mlp.gate_proj", ffn_up: "mlp.up_proj", ffn_down: "mlp.down_proj" };
const outer = {
  "token_embd.weight": "model.embed_tokens.weight",
  "output_norm.weight": "model.norm.weight",
  "output.weight": "lm_head.weight",
};
const decoder = (block: Readonly<Record<string, string>>): GgufNames => ({ blocks: "model.layers", block, outer });

export const llamaNames = decoder({ ...norms, ...attention, ...gated });
export const qwen3Names = decoder({ ...norms, ...attention, ...headNorms, ...gated });
export const phi3Names = decoder({
  ...norms,
  attn_qkv: "self_attn.qkv_proj",
  attn_output: "self_attn.o_proj",
  ffn_up: "mlp.gate_up_proj",
  ffn_down: "mlp.down_proj",
});
export const gemma3Names = decoder({
  attn_norm: "input_layernorm",
  post_attention_norm: "post_attention_layernorm",
  ffn_norm: "pre_feedforward_layernorm",
  post_ffw_norm: "post_feedforward_layernorm",
  ...attention,
  ...headNorms,
  ...gated,
});
export const gpt2Names: GgufNames = {
  blocks: "transformer.h",
  block: {
    attn_norm: "ln_1",
    attn_qkv: "attn.c_attn",
    attn_output: "attn.c_proj",
    ffn_norm: "ln_2",
    ffn_up: "mlp.c_fc",
    ffn_down: "mlp.c_proj",
  },
  outer: {
    "token_embd.weight": "transformer.wte.weight",
    "position_embd.weight": "transformer.wpe.weight",
    "output_norm.weight": "transformer.ln_f.weight",
    "output_norm.bias": "transformer.ln_f.bias",
    "output.weight": "lm_head.weight",
  },
};

/** Hugging Face's name of a tensor; undefined where llama.cpp's is not one of the architecture's. */
export const hubName = (names: GgufNames, name: string): string | undefined => {
  const [, layer, part = "", kind] = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(name) ?? [];
  const inner = Object.hasOwn(names.block, part) ? names.block[part] : undefined;
  if (layer !== undefined && inner !== undefined) return `${names.blocks}.${layer}.${inner}.${kind}`;
  return Object.hasOwn(names.outer, name) ? names.outer[name] : undefined;
};

const keyOf = (record: Readonly<Record<string, string>>, wanted: string): string | undefined =>
  Object.entries(record).find(([, value]) => value === wanted)?.[0];

/** llama.cpp's name of a tensor; undefined where it has none. */
export const ggufName = (names: GgufNames, hub: string): string | undefined => {
  const outside = keyOf(names.outer, hub);
  if (outside !== undefined || !hub.startsWith(`${names.blocks}.`)) return outside;
  const [, layer, module = "", kind] = /^(\d+)\.(.+)\.(weight|bias)$/.exec(hub.slice(names.blocks.length + 1)) ?? [];
  const part = keyOf(names.block, module);
  return layer === undefined || part === undefined ? undefined : `blk.${layer}.${part}.${kind}`;
};
