import { z } from "zod";
import { ZerothError } from "../../errors.js";
import type { Value } from "../../graph/ir.js";
import { oneLine } from "../../one-line.js";
import { attention, attentionInputs, type Heads } from "../attention.js";
import type { BoundFamily, Family, Parameter, Parts, Pieces } from "../family.js";

const size = z.int().min(1);
const positive = z.number().positive();

/** Rotary settings under their new name (`rope_parameters`) or their old ones (`rope_theta`, `rope_scaling`). */
const rope = z.looseObject({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: positive.optional(),
});

const schema = z.looseObject({
  hidden_size: size,
  intermediate_size: size,
  // Bounds far above any model's: a file's claim is not yet a reason to allocate.
  num_hidden_layers: size.max(10_000),
  num_attention_heads: size,
  num_key_value_heads: size.nullish(),
  head_dim: size.max(65_536).nullish(),
  vocab_size: size,
  rms_norm_eps: positive,
  max_position_embeddings: size,
  hidden_act: z.literal("silu").default("silu"),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  tie_word_embeddings: z.boolean().optional(),
  rope_theta: positive.nullish(),
  rope_scaling: rope.nullish(),
  rope_parameters: rope.nullish(),
});
type Config = z.infer<typeof schema>;

/** Changes the inverse frequency of a pair of rows. */
type Scale = (frequency: number) => number;

/** A kind of scaling: the settings that it needs, and what it makes of them. */
const scaling =
  <S extends z.ZodType>(settings: S, scale: (settings: z.infer<S>) => Scale) =>
  (raw: unknown): Scale =>
    scale(settings.parse(raw));

const scalings: Readonly<Record<string, (raw: unknown) => Scale>> = {
  default: () => (frequency) => frequency,
  linear: scaling(
    z.looseObject({ factor: positive }),
    ({ factor }) =>
      (frequency) =>
        frequency / factor,
  ),
  /** Llama 3.1: long waves are slowed, short ones kept, a smooth passage between. */
  llama3: scaling(
    z
      .looseObject({
        factor: positive,
        low_freq_factor: positive,
        high_freq_factor: positive,
        original_max_position_embeddings: size,
      })
      .refine((r) => r.low_freq_factor < r.high_freq_factor, {
        path: ["high_freq_factor"],
        message: "must be larger than low_freq_factor",
      }),
    ({ factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: old }) =>
      (frequency) => {
        const wavelength = (2 * Math.PI) / frequency;
        if (wavelength < old / high) return frequency;
        if (wavelength > old / low) return frequency / factor;
        const smooth = (old / wavelength - low) / (high - low);
        return (1 - smooth) * (frequency / factor) + smooth * frequency;
      },
  ),
};

const unusable = (file: string, { issues }: z.ZodError, under: readonly PropertyKey[] = []): ZerothError => {
  const faults = issues.map(({ path, message }) => `${[...under, ...path].join(".")}: ${message}`);
  return new ZerothError(`${file}: not a Llama configuration that Zeroth can use.\n${faults.slice(0, 3).join("; ")}`);
};

const inverseFrequencies = (config: Config, headSize: number, file: string): Float64Array => {
  const name = config.rope_parameters ? "rope_parameters" : "rope_scaling";
  const settings = config[name] ?? {};
  const kind = settings.rope_type ?? settings.type ?? "default";
  const scaleFor = Object.hasOwn(scalings, kind) ? scalings[kind] : undefined;
  if (scaleFor === undefined) {
    throw new ZerothError(
      `${file}: rotary scaling "${oneLine(kind, 40)}" (${name}.rope_type) is not supported. Known: ${Object.keys(scalings).join(", ")}.`,
    );
  }
  let scale: Scale;
  try {
    scale = scaleFor(settings);
  } catch (error) {
    throw error instanceof z.ZodError ? unusable(file, error, [name]) : error;
  }
  const theta = settings.rope_theta ?? config.rope_theta ?? 10000;
  return Float64Array.from({ length: headSize / 2 }, (_, i) => scale(theta ** ((-2 * i) / headSize)));
};

interface Sizes extends Heads {
  readonly hidden: number;
  readonly inner: number;
  readonly layers: number;
  readonly vocabulary: number;
}

const linear = (name: string, outputs: number, inputs: number, layer: number): Parameter => ({
  name: `${name}.weight`,
  shape: [outputs, inputs],
  linear: true,
  layer,
});

/** A block's tensors, as data. */
const blockParameters = ({ hidden, inner, heads, keyHeads, headSize }: Sizes, layer: number): readonly Parameter[] => {
  const at = `model.layers.${layer}`;
  return [
    { name: `${at}.input_layernorm.weight`, shape: [hidden], layer },
    linear(`${at}.self_attn.q_proj`, heads * headSize, hidden, layer),
    linear(`${at}.self_attn.k_proj`, keyHeads * headSize, hidden, layer),
    linear(`${at}.self_attn.v_proj`, keyHeads * headSize, hidden, layer),
    linear(`${at}.self_attn.o_proj`, hidden, heads * headSize, layer),
    { name: `${at}.post_attention_layernorm.weight`, shape: [hidden], layer },
    linear(`${at}.mlp.gate_proj`, inner, hidden, layer),
    linear(`${at}.mlp.up_proj`, inner, hidden, layer),
    linear(`${at}.mlp.down_proj`, hidden, inner, layer),
  ];
};

const EMBEDDING = "model.embed_tokens.weight";
const HEAD = "lm_head.weight";
const LAST_NORM = "model.norm.weight";

/** What every block reads. */
const blockInputs = ({ g }: Parts, { headSize }: Sizes) => ({
  cos: g.input("cos", "float32", ["T", headSize / 2]),
  sin: g.input("sin", "float32", ["T", headSize / 2]),
  ...attentionInputs(g),
});

const piecesOf = (config: Config, sizes: Sizes, parts: Parts): Pieces => {
  const { g, weight, rows, linear: apply } = parts;
  const { heads, keyHeads, headSize } = sizes;
  let shared: ReturnType<typeof blockInputs> | undefined;
  const inputs = () => {
    shared ??= blockInputs(parts, sizes);
    return shared;
  };
  const start = g.constant([0]);
  const scale = g.constant(Float32Array.of(1 / Math.sqrt(headSize)), [1]);

  const rmsNorm = (x: Value, name: string): Value =>
    g.op(
      "SimplifiedLayerNormalization",
      [x, weight(name)],
      { axis: -1, epsilon: { float: config.rms_norm_eps } },
      name.replace(/\.weight$/, ""),
    );
  const rotate = (x: Value, count: number, name: string): Value => {
    const row = g.reshape(x, [1, -1, count * headSize]);
    const { cos, sin } = inputs();
    const turned = g.op("RotaryEmbedding", [row, start, cos, sin], { num_heads: count }, name);
    return g.reshape(turned, [-1, count * headSize]);
  };

  const attend = (x: Value, at: string): Value => {
    const q = rotate(apply(`${at}.q_proj`, x), heads, `${at}.q_rotary`);
    const k = rotate(apply(`${at}.k_proj`, x), keyHeads, `${at}.k_rotary`);
    const v = apply(`${at}.v_proj`, x);
    return apply(`${at}.o_proj`, attention(g, inputs(), sizes, { q: g.op("Mul", [q, scale]), k, v }, at));
  };
  const mlp = (x: Value, at: string): Value => {
    const gate = apply(`${at}.gate_proj`, x);
    const up = apply(`${at}.up_proj`, x);
    const active = g.op("Mul", [gate, g.op("Sigmoid", [gate])]);
    return apply(`${at}.down_proj`, g.op("Mul", [active, up]));
  };

  return {
    embed: () => rows(EMBEDDING, g.input("ids", "int32", ["T"])),
    block(x, layer) {
      const at = `model.layers.${layer}`;
      const attended = g.op("Add", [x, attend(rmsNorm(x, `${at}.input_layernorm.weight`), `${at}.self_attn`)]);
      return g.op("Add", [attended, mlp(rmsNorm(attended, `${at}.post_attention_layernorm.weight`), `${at}.mlp`)]);
    },
    last: (x) => rmsNorm(g.op("Gather", [x, g.input("take", "int32", ["P"])], {}, "taken"), LAST_NORM),
  };
};

const sizesOf = (config: Config, file: string): Sizes => {
  const heads = config.num_attention_heads;
  const keyHeads = config.num_key_value_heads ?? heads;
  const headSize = config.head_dim ?? config.hidden_size / heads;
  if (heads % keyHeads !== 0 || !Number.isInteger(headSize) || headSize % 2 !== 0) {
    throw new ZerothError(
      `${file}: ${heads} heads over ${keyHeads} key heads of size ${headSize} cannot be.\nnum_attention_heads must be a multiple of num_key_value_heads, and head_dim (or hidden_size / num_attention_heads) even.`,
    );
  }
  return {
    hidden: config.hidden_size,
    inner: config.intermediate_size,
    layers: config.num_hidden_layers,
    heads,
    keyHeads,
    headSize,
    vocabulary: config.vocab_size,
  };
};

/** Llama 1 to 3, SmolLM, TinyLlama, Vicuna: RMSNorm, rotary positions, grouped-query attention, SwiGLU. */
export const llama: Family = {
  modelTypes: ["llama"],
  bind(raw, has, file): BoundFamily {
    const parsed = schema.safeParse(raw);
    if (!parsed.success) throw unusable(file, parsed.error);
    const config = parsed.data;
    const sizes = sizesOf(config, file);
    const { hidden, vocabulary, headSize } = sizes;
    // Where the file does not say, it has a head of its own if there is one.
    const tied = config.tie_word_embeddings ?? !has(HEAD);
    const main: readonly Parameter[] = [
      { name: EMBEDDING, shape: [vocabulary, hidden] },
      ...Array.from({ length: sizes.layers }, (_, layer) => blockParameters(sizes, layer)).flat(),
      { name: LAST_NORM, shape: [hidden] },
      ...(tied ? [] : [{ name: HEAD, shape: [vocabulary, hidden] }]),
    ];
    const promised = (name: string): boolean =>
      (config.attention_bias && name.includes(".self_attn.")) || (config.mlp_bias && name.includes(".mlp."));
    // Some relatives have biases on linear layers: the configuration or the file says which.
    const parameters = main.flatMap((parameter) => {
      const bias = parameter.name.replace(/weight$/, "bias");
      const [outputs = 0] = parameter.shape;
      return parameter.linear === true && (promised(bias) || has(bias))
        ? [
            parameter,
            { name: bias, shape: [outputs], ...(parameter.layer === undefined ? {} : { layer: parameter.layer }) },
          ]
        : [parameter];
    });
    const frequencies = inverseFrequencies(config, headSize, file);
    return {
      parameters,
      headWeight: tied ? EMBEDDING : HEAD,
      contextLength: config.max_position_embeddings,
      layers: sizes.layers,
      width: hidden,
      pieces: (parts) => piecesOf(config, sizes, parts),
      rotary(positions) {
        const half = frequencies.length;
        const cos = new Float32Array(positions.length * half);
        const sin = new Float32Array(positions.length * half);
        positions.forEach((position, t) => {
          frequencies.forEach((frequency, i) => {
            cos[t * half + i] = Math.cos(position * frequency);
            sin[t * half + i] = Math.sin(position * frequency);
          });
        });
        return { cos, sin };
      },
    };
  },
};
