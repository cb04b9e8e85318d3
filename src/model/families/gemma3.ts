import { z } from "zod";
import type { Family } from "../family.js";
import { decoder } from "../layers/decoder.js";
import { type RotaryFields, ropeSchema, rotaryOf } from "../layers/rotary.js";
import { activation, configOf, decoderFields, decoderPlan, positive, size, unusable } from "./config.js";

const { hidden_act: _, rope_parameters: __, ...fields } = decoderFields;
const schema = z.looseObject({
  ...fields,
  hidden_activation: activation.default("gelu_pytorch_tanh"),
  query_pre_attn_scalar: positive.default(256),
  /** Every so many blocks one sees everything, where `layer_types` does not list them. */
  sliding_window_pattern: size.nullish(),
  _sliding_window_pattern: size.nullish(),
  rope_local_base_freq: positive.default(10_000),
  attn_logit_softcapping: positive.nullish(),
  final_logit_softcapping: positive.nullish(),
  use_bidirectional_attention: z.literal(false).nullish(),
  /** One table for blocks that see everything, one for those with a window. */
  rope_parameters: z.looseObject({ full_attention: ropeSchema, sliding_attention: ropeSchema }).nullish(),
});

const NAME = "Gemma 3";

/** A configuration in the terms that decoders share, and what is particular to the blocks with a window. */
export const gemma3Config = (raw: Readonly<Record<string, unknown>>, file: string) => {
  const config = configOf(schema, raw, file, NAME);
  const { rope_parameters: rope } = config;
  const every = config.sliding_window_pattern ?? config._sliding_window_pattern ?? 6;
  const usual = {
    ...config,
    hidden_act: config.hidden_activation,
    tie_word_embeddings: config.tie_word_embeddings ?? true,
    rope_theta: config.rope_theta ?? 1_000_000,
    rope_parameters: rope?.full_attention ?? null,
  };
  const local: RotaryFields = {
    max_position_embeddings: config.max_position_embeddings,
    rope_theta: config.rope_local_base_freq,
    rope_parameters: rope?.sliding_attention ?? null,
  };
  const windowed = (layer: number): boolean =>
    (config.layer_types?.[layer] ?? ((layer + 1) % every === 0 ? "full_attention" : "sliding_attention")) ===
    "sliding_attention";
  return { config, usual, local, windowed };
};

/**
 * Gemma 3, text: norms before and after attention and MLP, whose weights are stored less one; a norm on each head's queries and keys; windows with rotary
 * positions of their own between blocks that see everything; embeddings times √hidden.
 */
export const gemma3: Family = {
  modelTypes: ["gemma3_text"],
  bind(raw, has, file) {
    const { config, usual, local, windowed } = gemma3Config(raw, file);
    const plan = decoderPlan(usual, has, file, NAME, windowed);
    const names = { mask: "", window_mask: "local_" };
    return decoder({
      ...plan,
      norm: { epsilon: config.rms_norm_eps, offset: 1 },
      queryScale: config.query_pre_attn_scalar ** -0.5,
      embeddingScale: Math.sqrt(config.hidden_size),
      headNorms: true,
      outputNorms: true,
      caps: {
        scores: config.attn_logit_softcapping ?? undefined,
        logits: config.final_logit_softcapping ?? undefined,
      },
      blocks: plan.blocks.map(({ mask }) => ({ mask, rotary: names[mask as keyof typeof names] })),
      rotary: { ...plan.rotary, local_: rotaryOf(local, plan.headSize, file, unusable(file, NAME)) },
    });
  },
};
