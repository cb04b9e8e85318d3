import { z } from "zod";
import type { Value } from "../../graph/ir.js";
import type { BoundFamily, Family, Parameter, Parts, Pieces } from "../family.js";
import { activations } from "../layers/activations.js";
import { attention, sights } from "../layers/attention.js";
import { layerNorm } from "../layers/norms.js";
import { activation, configOf, headsOf, layerCount, size } from "./config.js";

const schema = z.looseObject({
  hidden_size: size,
  num_hidden_layers: layerCount,
  num_attention_heads: size,
  ffn_dim: size,
  max_position_embeddings: size,
  vocab_size: size,
  word_embed_proj_dim: size.nullish(),
  do_layer_norm_before: z.boolean().default(true),
  _remove_final_layer_norm: z.boolean().default(false),
  enable_bias: z.literal(true).default(true),
  layer_norm_elementwise_affine: z.literal(true).default(true),
  activation_function: activation.default("relu"),
  tie_word_embeddings: z.boolean().default(true),
});
type Config = z.output<typeof schema>;

const AT = "model.decoder";
const TOKENS = `${AT}.embed_tokens.weight`;
const POSITIONS = `${AT}.embed_positions.weight`;
const HEAD = "lm_head.weight";
/** The table of positions starts with two rows that no token uses. */
const OFFSET = 2;
const EPSILON = 1e-5;

const facts = (config: Config) => {
  const embedded = config.word_embed_proj_dim ?? config.hidden_size;
  return {
    embedded,
    projects: embedded !== config.hidden_size,
    hasLastNorm: config.do_layer_norm_before && !config._remove_final_layer_norm,
  };
};

const parametersOf = (config: Config): readonly Parameter[] => {
  const { hidden_size: hidden, ffn_dim: inner, vocab_size: vocabulary } = config;
  const { embedded, projects, hasLastNorm } = facts(config);
  const pair = (name: string, shape: readonly number[], extra: Partial<Parameter> = {}): readonly Parameter[] => {
    const { linear: _, ...rest } = extra;
    return [
      { name: `${name}.weight`, shape, ...extra },
      { name: `${name}.bias`, shape: shape.slice(0, 1), ...rest },
    ];
  };
  const block = (layer: number): readonly Parameter[] => {
    const at = `${AT}.layers.${layer}`;
    const linear = { linear: true, layer };
    return [
      ...["q_proj", "k_proj", "v_proj", "out_proj"].flatMap((name) =>
        pair(`${at}.self_attn.${name}`, [hidden, hidden], linear),
      ),
      ...pair(`${at}.self_attn_layer_norm`, [hidden], { layer }),
      ...pair(`${at}.fc1`, [inner, hidden], linear),
      ...pair(`${at}.fc2`, [hidden, inner], linear),
      ...pair(`${at}.final_layer_norm`, [hidden], { layer }),
    ];
  };
  return [
    { name: TOKENS, shape: [vocabulary, embedded] },
    { name: POSITIONS, shape: [config.max_position_embeddings + OFFSET, hidden] },
    ...(projects ? [{ name: `${AT}.project_in.weight`, shape: [hidden, embedded] }] : []),
    ...Array.from({ length: config.num_hidden_layers }, (_, layer) => block(layer)).flat(),
    ...(hasLastNorm ? pair(`${AT}.final_layer_norm`, [hidden]) : []),
    ...(projects ? [{ name: `${AT}.project_out.weight`, shape: [embedded, hidden] }] : []),
    ...(config.tie_word_embeddings ? [] : [{ name: HEAD, shape: [vocabulary, embedded] }]),
  ];
};

const piecesOf = (config: Config, file: string, parts: Parts): Pieces => {
  const { g, rows, linear: apply, project } = parts;
  const { projects, hasLastNorm } = facts(config);
  const { do_layer_norm_before: before } = config;
  const heads = headsOf({ hidden_size: config.hidden_size, num_attention_heads: config.num_attention_heads }, file);
  const sight = sights(parts);
  const norm = (x: Value, name: string) => layerNorm(parts, x, name, { epsilon: EPSILON });
  const scale = g.constant(Float32Array.of(1 / Math.sqrt(heads.headSize)), [1]);
  const attend = (x: Value, at: string): Value => {
    const [q, k, v] = ["q", "k", "v"].map((name) => apply(`${at}.${name}_proj`, x));
    if (q === undefined || k === undefined || v === undefined) throw new Error("attention takes three");
    return apply(`${at}.out_proj`, attention(g, sight("mask"), heads, { q: g.op("Mul", [q, scale]), k, v }, at));
  };
  /** A sublayer with its norm before it, or after what it adds to. */
  const around = (x: Value, name: string, sublayer: (y: Value) => Value): Value =>
    before ? g.op("Add", [x, sublayer(norm(x, name))]) : norm(g.op("Add", [x, sublayer(x)]), name);
  return {
    embed() {
      const tokens = rows(TOKENS, g.input("ids", "int32", ["T"]));
      const entering = projects ? project(`${AT}.project_in.weight`, tokens) : tokens;
      return g.op("Add", [entering, rows(POSITIONS, g.input("positions", "int32", ["T"]))], {}, "embedded");
    },
    block(x, layer) {
      const at = `${AT}.layers.${layer}`;
      const attended = around(x, `${at}.self_attn_layer_norm`, (y) => attend(y, `${at}.self_attn`));
      return around(attended, `${at}.final_layer_norm`, (y) =>
        apply(`${at}.fc2`, activations[config.activation_function](g, apply(`${at}.fc1`, y))),
      );
    },
    last(x) {
      const taken = g.op("Gather", [x, g.input("take", "int32", ["P"])], {}, "taken");
      const normed = hasLastNorm ? norm(taken, `${AT}.final_layer_norm`) : taken;
      return projects ? project(`${AT}.project_out.weight`, normed) : normed;
    },
  };
};

/** OPT: learned positions and layer norms, before each sublayer or, in the 350 M model, after it, with projections around the blocks. */
export const opt: Family = {
  modelTypes: ["opt"],
  bind(raw, _, file): BoundFamily {
    const config = configOf(schema, raw, file, "OPT");
    headsOf({ hidden_size: config.hidden_size, num_attention_heads: config.num_attention_heads }, file);
    return {
      parameters: parametersOf(config),
      head: { weight: config.tie_word_embeddings ? TOKENS : HEAD },
      reads: "next",
      contextLength: config.max_position_embeddings,
      layers: config.num_hidden_layers,
      width: config.hidden_size,
      masks: { mask: { causal: true } },
      targets: ["q_proj", "v_proj"],
      pieces: (parts) => piecesOf(config, file, parts),
      places: ({ positions }) => ({ positions: { data: positions.map((position) => position + OFFSET) } }),
    };
  },
};
