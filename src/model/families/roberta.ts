import { z } from "zod";
import type { Family } from "../family.js";
import { encoder } from "../layers/encoder.js";
import { classesOf, encoderFields, encoderPlan } from "./bert.js";
import { configOf } from "./config.js";

const schema = z.looseObject({ ...encoderFields, pad_token_id: z.int().min(0).default(1) });

/** RoBERTa with its masked-language-model head, or with its classifier over the first token. */
export const roberta: Family = {
  modelTypes: ["roberta", "xlm-roberta"],
  bind(raw, has, file) {
    const config = configOf(schema, raw, file, "RoBERTa");
    // Positions count on from the padding token's.
    const plan = { ...encoderPlan(config, file), root: "roberta", offset: config.pad_token_id + 1 };
    if (has("classifier.out_proj.weight"))
      return encoder({
        ...plan,
        head: {
          reads: "class",
          outputs: classesOf(config),
          own: true,
          dense: "classifier.dense",
          activation: "tanh",
          weight: "classifier.out_proj.weight",
          bias: "classifier.out_proj.bias",
        },
      });
    const tied = config.tie_word_embeddings && !has("lm_head.decoder.weight");
    return encoder({
      ...plan,
      head: {
        reads: "masked",
        outputs: config.vocab_size,
        own: !tied,
        dense: "lm_head.dense",
        activation: "gelu",
        norm: "lm_head.layer_norm",
        weight: tied ? "roberta.embeddings.word_embeddings.weight" : "lm_head.decoder.weight",
        bias: "lm_head.bias",
      },
    });
  },
};
