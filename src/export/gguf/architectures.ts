import { z } from "zod";
import { ZerothError } from "../../errors.js";
import { configOf, decoderFields, headsOf, unusable } from "../../model/families/config.js";
import type { GgufArchitecture } from "../../model/gguf-names.js";
import type { GgufEntry } from "../../model/gguf-writer.js";
import type { Json } from "../../model/json.js";
import { rotaryOf } from "../../model/layers/rotary.js";

/** What llama.cpp must know of a model beside its tensors, and how its tensors differ from Hugging Face's. */
export interface GgufLayout {
  readonly architecture: GgufArchitecture;
  /** Keys are without the architecture's name before them. */
  readonly numbers: readonly GgufEntry[];
  /** Divisors of the rotary frequencies, where they are no plain scaling. */
  readonly rotaryFactors?: Float32Array;
  /** Heads of the modules whose rows are in rotary pairs, by the end of their path. */
  readonly pairedHeads: Readonly<Record<string, number>>;
}

type LayoutOf = (config: Json, file: string) => GgufLayout;

const refusal = (file: string, what: string): ZerothError =>
  new ZerothError(`${file}: ${what}, which llama.cpp's form of this architecture has no place for. Export it as onnx.`);

const schema = z.looseObject(decoderFields);

/** @param paired whether llama.cpp turns neighbouring elements of a head (its form of Llama), or halves as Hugging Face does */
const decoder =
  (architecture: GgufArchitecture, { paired }: { readonly paired: boolean }): LayoutOf =>
  (raw, file) => {
    const config = configOf(schema, raw, file, architecture);
    const { heads, keyHeads, headSize } = headsOf(config, file);
    const settings = config.rope_parameters ?? config.rope_scaling ?? {};
    const kind = settings.rope_type ?? settings.type ?? "default";
    const rotary = rotaryOf(config, headSize, file, unusable(file, architecture));
    const theta = settings.rope_theta ?? config.rope_theta ?? 10000;
    if (config.hidden_act !== "silu") throw refusal(file, `hidden_act is ${config.hidden_act}`);
    if (kind === "longrope") throw refusal(file, "its rotary scaling is longrope");
    if (paired && rotary.elements !== headSize) throw refusal(file, "it turns only a part of each head");
    const plain = (i: number): number => theta ** ((-2 * i) / rotary.elements);
    return {
      architecture,
      numbers: [
        ["embedding_length", "u32", config.hidden_size],
        ["block_count", "u32", config.num_hidden_layers],
        ["feed_forward_length", "u32", config.intermediate_size],
        ["attention.head_count", "u32", heads],
        ["attention.head_count_kv", "u32", keyHeads],
        ["attention.key_length", "u32", headSize],
        ["attention.value_length", "u32", headSize],
        ["attention.layer_norm_rms_epsilon", "f32", config.rms_norm_eps],
        ["rope.dimension_count", "u32", rotary.elements],
        ["rope.freq_base", "f32", theta],
        ...(kind === "linear"
          ? ([
              ["rope.scaling.type", "string", "linear"],
              ["rope.scaling.factor", "f32", Number(settings.factor)],
            ] satisfies readonly GgufEntry[])
          : []),
      ],
      ...(kind === "llama3"
        ? { rotaryFactors: Float32Array.from(rotary.frequencies(0), (frequency, i) => plain(i) / frequency) }
        : {}),
      pairedHeads: paired ? { "self_attn.q_proj": heads, "self_attn.k_proj": keyHeads } : {},
    };
  };

const gpt2Schema = z.looseObject({
  n_embd: z.int(),
  n_layer: z.int(),
  n_head: z.int(),
  n_inner: z.int().nullish(),
  layer_norm_epsilon: z.number().default(1e-5),
  activation_function: z.string().default("gelu_new"),
});

const gpt2: LayoutOf = (raw, file) => {
  const config = configOf(gpt2Schema, raw, file, "GPT-2");
  if (!["gelu_new", "gelu_pytorch_tanh"].includes(config.activation_function))
    throw refusal(file, `activation_function is ${config.activation_function}`);
  return {
    architecture: "gpt2",
    numbers: [
      ["embedding_length", "u32", config.n_embd],
      ["block_count", "u32", config.n_layer],
      ["feed_forward_length", "u32", config.n_inner ?? 4 * config.n_embd],
      ["attention.head_count", "u32", config.n_head],
      ["attention.layer_norm_epsilon", "f32", config.layer_norm_epsilon],
    ],
    pairedHeads: {},
  };
};

const llama = decoder("llama", { paired: true });
const halves = { paired: false };

/** By the configuration's `model_type`: one more is one more row, and its tensors' names in `model/gguf-names.ts`. */
const layouts: Readonly<Record<string, LayoutOf>> = {
  llama,
  mistral: llama,
  qwen2: decoder("qwen2", halves),
  qwen3: decoder("qwen3", halves),
  phi3: decoder("phi3", halves),
  gpt2,
};

/** @throws ZerothError in one sentence where llama.cpp's form of the model is not known */
export const ggufLayout = (config: Json, file: string): GgufLayout => {
  const type = String(config.model_type);
  const layoutOf = Object.hasOwn(layouts, type) ? layouts[type] : undefined;
  if (layoutOf !== undefined) return layoutOf(config, file);
  const known = Object.keys(layouts).join(", ");
  throw new ZerothError(`${file}: Zeroth writes GGUF for ${known}, not for ${type.slice(0, 60)}.`, { kind: "usage" });
};
