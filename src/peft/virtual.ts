import type { BoundFamily } from "../model/family.js";
import { tensorId, tensorKey } from "../random/key.js";
import { uniformAt } from "../random/noise.js";
import { builtHere } from "./built-here.js";
import type { Base } from "./define.js";

/** PEFT's name of the one tensor of prefix and prompt tuning. */
export const EMBEDDINGS = "prompt_embeddings";

/** Rows and columns of the tokens' embeddings. */
export const tableOf = ({ parameters, embedding }: BoundFamily): readonly [rows: number, columns: number] => {
  const [rows = 0, columns = 0] = parameters.find(({ name }) => name === embedding.weight)?.shape ?? [];
  return [rows, columns];
};

/** Tokens of the vocabulary, drawn evenly from the run's seed. */
export const randomTokens = (family: BoundFamily, count: number, seed: bigint): readonly number[] => {
  const [rows] = tableOf(family);
  const key = tensorKey({ seed, stream: "init", step: 0, query: 0 }, tensorId(EMBEDDINGS));
  return Array.from({ length: count }, (_, i) => Math.floor(uniformAt(key, i) * rows));
};

/** What PEFT writes of the model that virtual tokens are for. */
export const promptConfig = (base: Base, tokens: number, width: number) => ({
  num_attention_heads: builtHere(base).heads.keyHeads,
  num_layers: base.family.layers,
  num_transformer_submodules: 1,
  num_virtual_tokens: tokens,
  token_dim: width,
});
