import { z } from "zod";
import type { OpenModel } from "./open.js";

const ids = z.union([z.int().transform((id) => [id]), z.array(z.int()).min(1)]);

/** The tokens that end a text: of `generation_config.json`, else of the configuration, else of the tokenizer. Empty where none is named. */
export const endTokens = ({
  generation,
  config,
  tokenizer,
}: Pick<OpenModel, "generation" | "config" | "tokenizer">): ReadonlySet<number> => {
  const named = [generation.eos_token_id, config.eos_token_id].map((value) => ids.safeParse(value));
  const first = named.find(({ success }) => success)?.data;
  return new Set(first ?? (tokenizer.end === undefined ? [] : [tokenizer.end]));
};
