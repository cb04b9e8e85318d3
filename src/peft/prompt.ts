import { z } from "zod";
import { ZerothError } from "../errors.js";
import type { BoundFamily } from "../model/family.js";
import { builtHere } from "./built-here.js";
import { defineMethod } from "./define.js";
import type { Method } from "./method.js";
import { LARGEST, text, whole } from "./options.js";
import { EMBEDDINGS, promptConfig, randomTokens, tableOf } from "./virtual.js";

/**
 * Embeddings of virtual tokens before every row (prompt tuning, arXiv 2104.08691): [tokens, width].
 * @param start tokens whose embeddings they start as
 */
const promptMethod = (family: BoundFamily, tokens: number, start: readonly number[]): Method => {
  const [, width] = tableOf(family);
  const { weight, scale = 1 } = family.embedding;
  return {
    kind: "prompt",
    placement: "copies",
    firstLayer: 0,
    merge: "virtual tokens stand before every row, and no weight of the model holds them",
    tensors: [{ name: EMBEDDINGS, shape: [tokens, width], initial: { kind: "rows", weight, rows: start, scale } }],
    family: (bound) => ({ ...bound, lead: tokens, contextLength: bound.contextLength - tokens }),
    embed(g, embedded, tensor) {
      // Each point's virtual tokens end to end, as the sequence's tokens lie.
      const rows = g.reshape(tensor(EMBEDDINGS), [-1, width]);
      const taken = g.op("Gather", [rows, g.input("virtual", "int32", ["T"])], {}, EMBEDDINGS);
      const real = g.input("real", "float32", ["T", 1]);
      const virtual = g.op("Sub", [g.constant(Float32Array.of(1), [1]), real]);
      return g.op("Add", [g.op("Mul", [embedded, real]), g.op("Mul", [taken, virtual])], {}, "led");
    },
  };
};

export const prompt = defineMethod({
  name: "prompt",
  summary: "embeddings of virtual tokens before every row (arXiv 2104.08691)",
  options: {
    /** Virtual tokens. Default 10. */
    tokens: whole("--tokens <n>", "virtual tokens", 10),
    /** A text whose tokens, repeated or cut, they start as. Default: random tokens of the vocabulary. */
    initText: text(
      "--init-text <text>",
      "text whose tokens the virtual ones start as",
      "random tokens of the vocabulary",
      z.string().nullable().default(null),
    ),
  },
  tuning: { of: "adapter" },
  bind(base, { tokens, initText }, seed) {
    const family = builtHere(base);
    if (initText === null) return promptMethod(family, tokens, randomTokens(family, tokens, seed));
    const ids = base.files.tokenizer.encode(initText);
    if (ids.length === 0) throw new ZerothError("--init-text: the text has no tokens.", { kind: "usage" });
    return promptMethod(
      family,
      tokens,
      Array.from({ length: tokens }, (_, i) => ids[i % ids.length] ?? 0),
    );
  },
  folder: {
    type: "PROMPT_TUNING",
    schema: z.looseObject({ num_virtual_tokens: z.int().min(1).max(LARGEST) }),
    config: (base, { tokens, initText }) => ({
      ...promptConfig(base, tokens, tableOf(builtHere(base))[1]),
      num_attention_heads: builtHere(base).heads.heads,
      prompt_tuning_init: "RANDOM",
      prompt_tuning_init_text: initText,
      tokenizer_name_or_path: null,
    }),
    read: (base, { config }) => promptMethod(builtHere(base), config.num_virtual_tokens, []),
  },
});
