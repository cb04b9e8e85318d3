import { z } from "zod";
import type { Family } from "../family.js";
import { type EncoderPlan, encoder } from "../layers/encoder.js";
import { activation, configOf, headsOf, layerCount, positive, size } from "./config.js";

/** Fields of BERT and its relatives. */
export const encoderFields = {
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: layerCount,
  num_attention_heads: size,
  vocab_size: size,
  max_position_embeddings: size,
  type_vocab_size: size,
  layer_norm_eps: positive.default(1e-12),
  hidden_act: activation.default("gelu"),
  position_embedding_type: z.literal("absolute").default("absolute"),
  is_decoder: z.literal(false).default(false),
  add_cross_attention: z.literal(false).default(false),
  tie_word_embeddings: z.boolean().default(true),
  id2label: z.record(z.string(), z.string()).nullish(),
};
const schema = z.looseObject(encoderFields);
export type EncoderConfig = z.output<typeof schema>;

/** The plan that such a configuration comes to, but for its names. */
export const encoderPlan = (config: EncoderConfig, file: string): Omit<EncoderPlan, "root" | "offset" | "head"> => ({
  ...headsOf({ hidden_size: config.hidden_size, num_attention_heads: config.num_attention_heads }, file),
  hidden: config.hidden_size,
  inner: config.intermediate_size,
  layers: config.num_hidden_layers,
  vocabulary: config.vocab_size,
  types: config.type_vocab_size,
  positions: config.max_position_embeddings,
  epsilon: config.layer_norm_eps,
  activation: config.hidden_act,
});

/** How many classes a configuration names; two where it names none. */
export const classesOf = ({ id2label }: EncoderConfig): number => Object.keys(id2label ?? { 0: "", 1: "" }).length;

/** BERT with its masked-language-model head, or with a classifier over the pooled first token. */
export const bert: Family = {
  modelTypes: ["bert"],
  bind(raw, has, file) {
    const config = configOf(schema, raw, file, "BERT");
    const plan = { ...encoderPlan(config, file), root: "bert", offset: 0 };
    const { hidden_act: act, vocab_size: vocabulary } = config;
    if (has("classifier.weight"))
      return encoder({
        ...plan,
        head: {
          reads: "class",
          outputs: classesOf(config),
          own: true,
          dense: "bert.pooler.dense",
          activation: "tanh",
          weight: "classifier.weight",
          bias: "classifier.bias",
        },
      });
    const tied = config.tie_word_embeddings && !has("cls.predictions.decoder.weight");
    const at = "cls.predictions";
    return encoder({
      ...plan,
      head: {
        reads: "masked",
        outputs: vocabulary,
        own: !tied,
        dense: `${at}.transform.dense`,
        activation: act,
        norm: `${at}.transform.LayerNorm`,
        weight: tied ? "bert.embeddings.word_embeddings.weight" : `${at}.decoder.weight`,
        bias: `${at}.bias`,
      },
    });
  },
};
