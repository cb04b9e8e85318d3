import { z } from "zod";
import type { Value } from "../../graph/ir.js";
import type { BoundFamily, Family, Parameter, Parts, Pieces } from "../family.js";
import { type ActivationName, activations } from "../layers/activations.js";
import { attention, sights } from "../layers/attention.js";
import { layerNorm } from "../layers/norms.js";
import { activation, configOf, headsOf, layerCount, positive, size } from "./config.js";

const schema = z.looseObject({
  n_embd: size,
  n_layer: layerCount,
  n_head: size,
  n_inner: size.nullish(),
  n_positions: size,
  vocab_size: size,
  layer_norm_epsilon: positive.default(1e-5),
  activation_function: activation.default("gelu_new"),
  scale_attn_weights: z.literal(true).default(true),
  scale_attn_by_inverse_layer_idx: z.literal(false).default(false),
  add_cross_attention: z.literal(false).default(false),
  tie_word_embeddings: z.boolean().default(true),
});
type Config = z.output<typeof schema>;

const HEAD = "lm_head.weight";

/** Names in the file: with the prefix that a language model's have, or bare. */
const namesOf = (prefix: string) => ({
  tokens: `${prefix}wte.weight`,
  positions: `${prefix}wpe.weight`,
  last: `${prefix}ln_f`,
  block: (layer: number) => `${prefix}h.${layer}`,
});
type Names = ReturnType<typeof namesOf>;

const parametersOf = (config: Config, names: Names): readonly Parameter[] => {
  const { n_embd: hidden, vocab_size: vocabulary, n_positions: positions } = config;
  const inner = config.n_inner ?? 4 * hidden;
  const norm = (name: string, layer?: number): readonly Parameter[] =>
    ["weight", "bias"].map((kind) => ({
      name: `${name}.${kind}`,
      shape: [hidden],
      ...(layer === undefined ? {} : { layer }),
    }));
  // Conv1D keeps its weight [inputs, outputs].
  const linear = (name: string, outputs: number, inputs: number, layer: number): readonly Parameter[] => [
    { name: `${name}.weight`, shape: [inputs, outputs], linear: true, turned: true, layer },
    { name: `${name}.bias`, shape: [outputs], layer },
  ];
  const block = (layer: number): readonly Parameter[] => {
    const at = names.block(layer);
    return [
      ...norm(`${at}.ln_1`, layer),
      ...linear(`${at}.attn.c_attn`, 3 * hidden, hidden, layer),
      ...linear(`${at}.attn.c_proj`, hidden, hidden, layer),
      ...norm(`${at}.ln_2`, layer),
      ...linear(`${at}.mlp.c_fc`, inner, hidden, layer),
      ...linear(`${at}.mlp.c_proj`, hidden, inner, layer),
    ];
  };
  return [
    { name: names.tokens, shape: [vocabulary, hidden] },
    { name: names.positions, shape: [positions, hidden] },
    ...Array.from({ length: config.n_layer }, (_, layer) => block(layer)).flat(),
    ...norm(names.last),
    ...(config.tie_word_embeddings ? [] : [{ name: HEAD, shape: [vocabulary, hidden] }]),
  ];
};

const piecesOf = (config: Config, names: Names, file: string, parts: Parts): Pieces => {
  const { g, rows, linear: apply } = parts;
  const hidden = config.n_embd;
  const heads = headsOf({ hidden_size: hidden, num_attention_heads: config.n_head }, file);
  const sight = sights(parts);
  const act: ActivationName = config.activation_function;
  const norm = (x: Value, name: string) => layerNorm(parts, x, name, { epsilon: config.layer_norm_epsilon });
  const scale = g.constant(Float32Array.of(1 / Math.sqrt(heads.headSize)), [1]);
  const attend = (x: Value, at: string): Value => {
    const all = apply(`${at}.c_attn`, x);
    const part = (i: number) =>
      g.op(
        "Slice",
        [all, g.constant([i * hidden]), g.constant([(i + 1) * hidden]), g.constant([1])],
        {},
        `${at}.part_${i}`,
      );
    const qkv = { q: g.op("Mul", [part(0), scale]), k: part(1), v: part(2) };
    return apply(`${at}.c_proj`, attention(g, sight("mask"), heads, qkv, at));
  };
  return {
    embed() {
      const tokens = rows(names.tokens, g.input("ids", "int32", ["T"]));
      return g.op("Add", [tokens, rows(names.positions, g.input("positions", "int32", ["T"]))], {}, "embedded");
    },
    block(x, layer) {
      const at = names.block(layer);
      const attended = g.op("Add", [x, attend(norm(x, `${at}.ln_1`), `${at}.attn`)]);
      const inner = activations[act](g, apply(`${at}.mlp.c_fc`, norm(attended, `${at}.ln_2`)));
      return g.op("Add", [attended, apply(`${at}.mlp.c_proj`, inner)]);
    },
    last: (x) => norm(g.op("Gather", [x, g.input("take", "int32", ["P"])], {}, "taken"), names.last),
  };
};

/** GPT-2: learned positions, layer norms, one matrix for queries, keys and values, weights as Conv1D keeps them. */
export const gpt2: Family = {
  modelTypes: ["gpt2"],
  bind(raw, has, file): BoundFamily {
    const config = configOf(schema, raw, file, "GPT-2");
    headsOf({ hidden_size: config.n_embd, num_attention_heads: config.n_head }, file);
    const names = namesOf(has("wte.weight") ? "" : "transformer.");
    return {
      parameters: parametersOf(config, names),
      head: { weight: config.tie_word_embeddings ? names.tokens : HEAD },
      reads: "next",
      contextLength: config.n_positions,
      layers: config.n_layer,
      width: config.n_embd,
      masks: { mask: { causal: true } },
      targets: ["c_attn"],
      pieces: (parts) => piecesOf(config, names, file, parts),
      places: ({ positions }) => ({ positions: { data: positions } }),
    };
  },
};
