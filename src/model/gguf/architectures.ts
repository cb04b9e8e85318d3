import { ZerothError } from "../../errors.js";
import type { Json } from "../json.js";
import type { Kept } from "../kept.js";
import { type GgufNames, gemma3Names, gpt2Names, llamaNames, phi3Names, qwen3Names } from "./names.js";
import { llama3Scaling } from "./scaling.js";

/* llama.cpp's architectures in Hugging Face's terms. */

/** What a file tells of its model, keys without the architecture's name before them. */
export interface GgufFacts {
  readonly path: string;
  number(key: string): number | undefined;
  text(key: string): string | undefined;
  has(tensor: string): boolean;
  /** Values of a tensor that has as many as a head has rotary pairs, or fewer; undefined where there is no such tensor. */
  divisors(tensor: string): readonly number[] | undefined;
}

/** Heads whose rows may be in rotary pairs. */
export interface HeadCounts {
  readonly heads: number;
  readonly keyHeads: number;
}

export interface GgufArchitecture {
  readonly names: GgufNames;
  /** Numbers that every file of it has: llama.cpp's keys and types, by the configuration's fields. */
  readonly numbers: Readonly<Record<string, readonly [key: string, type: "u32" | "f32"]>>;
  /** How a tensor of some Hugging Face name is kept. */
  kept(name: string, counts: HeadCounts): Kept | undefined;
  /** @param given the fields of `numbers` @returns the rest of the configuration @throws ZerothError */
  configOf(given: Readonly<Record<string, number>>, file: GgufFacts): Json;
}

/** Tensors that scale rotary frequencies: the model is told of them by its configuration. */
export const ROTARY_FACTORS = "rope_freqs.weight";
const LONG_FACTORS = { long_factor: "rope_factors_long.weight", short_factor: "rope_factors_short.weight" };
export const isRotaryTensor = (name: string): boolean =>
  name === ROTARY_FACTORS || Object.values(LONG_FACTORS).includes(name);

const decoderNumbers = {
  hidden_size: ["embedding_length", "u32"],
  num_hidden_layers: ["block_count", "u32"],
  intermediate_size: ["feed_forward_length", "u32"],
  num_attention_heads: ["attention.head_count", "u32"],
  max_position_embeddings: ["context_length", "u32"],
  rms_norm_eps: ["attention.layer_norm_rms_epsilon", "f32"],
} as const satisfies GgufArchitecture["numbers"];
type Given = Readonly<Record<string, number>>;

/** The scaling of rotary positions, in `config.json`'s terms. */
const scalingOf = (file: GgufFacts, theta: number, headSize: number): Json => {
  const factors = file.divisors(ROTARY_FACTORS);
  if (factors !== undefined) {
    const scaling = llama3Scaling(factors, theta, headSize, file.path);
    if (scaling === null)
      throw new ZerothError(
        `${file.path}: ${ROTARY_FACTORS} scales the rotary frequencies in a way that is not Llama 3's: not supported.\nUse the model's Hugging Face folder, whose config.json says how.`,
      );
    return scaling === undefined ? {} : { rope_scaling: scaling };
  }
  const long = Object.entries(LONG_FACTORS).map(([field, tensor]) => [field, file.divisors(tensor)] as const);
  if (long.every(([, values]) => values !== undefined)) {
    const attention = file.number("rope.scaling.attn_factor");
    const original = file.number("rope.scaling.original_context_length");
    return {
      rope_scaling: {
        rope_type: "longrope",
        ...Object.fromEntries(long),
        ...(attention === undefined ? {} : { attention_factor: attention }),
      },
      ...(original === undefined ? {} : { original_max_position_embeddings: original }),
    };
  }
  const kind = file.text("rope.scaling.type") ?? "none";
  return kind === "none" ? {} : { rope_scaling: { rope_type: kind, factor: file.number("rope.scaling.factor") ?? 1 } };
};

interface DecoderForm {
  readonly names: GgufNames;
  /** The configuration's `architectures`. */
  readonly model: string;
  readonly kept?: GgufArchitecture["kept"];
  /** Whether every element of a head must turn. */
  readonly whole?: boolean;
  readonly theta?: number;
  readonly activation?: Json;
  more?(given: Given & { readonly head_dim: number }, file: GgufFacts): Json;
}

const decoder = (
  type: string,
  {
    names,
    model,
    kept = () => undefined,
    whole = false,
    theta: usual = 10_000,
    activation = { hidden_act: "silu" },
    more = () => ({}),
  }: DecoderForm,
): GgufArchitecture => ({
  names,
  numbers: decoderNumbers,
  kept,
  configOf(given, file) {
    const { num_attention_heads: heads = 0, hidden_size: hidden = 0 } = given;
    const headSize = file.number("attention.key_length") ?? hidden / heads;
    const turning = file.number("rope.dimension_count") ?? headSize;
    if (whole && turning !== headSize)
      throw new ZerothError(`${file.path} turns only a part of each head (rope.dimension_count): not supported.`);
    const theta = file.number("rope.freq_base") ?? usual;
    return {
      architectures: [model],
      model_type: type,
      head_dim: headSize,
      ...activation,
      num_key_value_heads: file.number("attention.head_count_kv") ?? heads,
      rope_theta: theta,
      ...(turning === headSize ? {} : { partial_rotary_factor: turning / headSize }),
      ...scalingOf(file, theta, headSize),
      ...more({ ...given, head_dim: headSize }, file),
    };
  },
});

/** What llama.cpp divides Gemma 3's queries by the root of: it knows the one size that has another by its number of blocks. */
export const gemma3Scalar = (
  config: Readonly<Record<"hidden_size" | "num_attention_heads" | "num_hidden_layers", number>>,
  headSize: number,
): number => (config.num_hidden_layers === 62 ? config.hidden_size / config.num_attention_heads : headSize);

const turned: Kept = { as: "transpose" };

/** By llama.cpp's name: one more is one more row, and its tensors' names in `names.ts`. */
export const ggufArchitectures = {
  llama: decoder("llama", {
    names: llamaNames,
    model: "LlamaForCausalLM",
    whole: true,
    kept(name, { heads, keyHeads }) {
      const [, which] = /\.([qk])_proj\.(?:weight|bias)$/.exec(name) ?? [];
      return which === undefined ? undefined : { as: "rotary pairs", heads: which === "q" ? heads : keyHeads };
    },
    more: (_, file) => ({
      attention_bias: file.has("blk.0.attn_q.bias"),
      mlp_bias: file.has("blk.0.ffn_gate.bias"),
    }),
  }),
  qwen2: decoder("qwen2", { names: llamaNames, model: "Qwen2ForCausalLM" }),
  qwen3: decoder("qwen3", { names: qwen3Names, model: "Qwen3ForCausalLM" }),
  phi3: decoder("phi3", {
    names: phi3Names,
    model: "Phi3ForCausalLM",
    more: (_, file) => ({ sliding_window: file.number("attention.sliding_window") || null }),
  }),
  gemma3: decoder("gemma3_text", {
    names: gemma3Names,
    model: "Gemma3ForCausalLM",
    theta: 1_000_000,
    activation: { hidden_activation: "gelu_pytorch_tanh" },
    kept: (name) => (name.endsWith("norm.weight") ? { as: "one more" } : undefined),
    more: ({ head_dim, hidden_size = 0, num_attention_heads = 1, num_hidden_layers = 0 }, file) => ({
      query_pre_attn_scalar: gemma3Scalar({ hidden_size, num_attention_heads, num_hidden_layers }, head_dim),
      sliding_window: file.number("attention.sliding_window") || null,
      sliding_window_pattern: file.number("attention.sliding_window_pattern") ?? 6,
      rope_local_base_freq: file.number("rope.freq_base_swa") ?? 10_000,
    }),
  }),
  gpt2: {
    names: gpt2Names,
    numbers: {
      n_embd: ["embedding_length", "u32"],
      n_layer: ["block_count", "u32"],
      n_inner: ["feed_forward_length", "u32"],
      n_head: ["attention.head_count", "u32"],
      n_positions: ["context_length", "u32"],
      layer_norm_epsilon: ["attention.layer_norm_epsilon", "f32"],
    },
    kept: (name) => (/\.(c_attn|c_proj|c_fc)\.weight$/.test(name) ? turned : undefined),
    configOf: () => ({ architectures: ["GPT2LMHeadModel"], model_type: "gpt2", activation_function: "gelu_new" }),
  },
} as const satisfies Readonly<Record<string, GgufArchitecture>>;
export type GgufArchitectureName = keyof typeof ggufArchitectures;
