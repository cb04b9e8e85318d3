import { z } from "zod";
import { ZerothError } from "../../errors.js";
import type { Sight } from "../family.js";
import { activationNames } from "../layers/activations.js";
import { type DecoderPlan, decoderHead } from "../layers/decoder.js";
import { type RotaryFields, ropeSchema, rotaryOf } from "../layers/rotary.js";

/* What configurations of decoders have in common, and what they come to. */

export const size = z.int().min(1);
export const positive = z.number().positive();
export const activation = z.enum(activationNames);
/** Bounds far above any model's: a file's claim is not yet a reason to allocate. */
export const layerCount = size.max(10_000);
const LARGEST_HEAD = 65_536;
const kinds = z.array(z.enum(["full_attention", "sliding_attention"]));

/** Fields of a decoder with rotary positions and a gated MLP. */
export const decoderFields = {
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: layerCount,
  num_attention_heads: size,
  num_key_value_heads: size.nullish(),
  head_dim: size.max(LARGEST_HEAD).nullish(),
  vocab_size: size,
  rms_norm_eps: positive,
  max_position_embeddings: size,
  hidden_act: activation.default("silu"),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  tie_word_embeddings: z.boolean().optional(),
  rope_theta: positive.nullish(),
  rope_scaling: ropeSchema.nullish(),
  rope_parameters: ropeSchema.nullish(),
  partial_rotary_factor: z.number().positive().max(1).nullish(),
  original_max_position_embeddings: size.nullish(),
  sliding_window: size.nullish(),
  layer_types: kinds.nullish(),
};
type DecoderConfig = z.output<z.ZodObject<typeof decoderFields>>;

/** Reads a configuration. @throws ZerothError that names up to three fields which are missing or cannot be used */
export const configOf = <S extends z.ZodType>(
  schema: S,
  raw: Readonly<Record<string, unknown>>,
  file: string,
  family: string,
): z.output<S> => {
  const parsed = schema.safeParse(raw);
  if (parsed.success) return parsed.data;
  throw unusable(file, family)(parsed.error);
};

/** What is wrong with the fields of a configuration, under a path of its own. */
export const unusable =
  (file: string, family: string) =>
  ({ issues }: z.ZodError, under: readonly PropertyKey[] = []): ZerothError => {
    const faults = issues.map(({ path, message }) => `${[...under, ...path].join(".")}: ${message}`);
    return new ZerothError(
      `${file}: not a ${family} configuration that Zeroth can use.\n${faults.slice(0, 3).join("; ")}`,
    );
  };

/** Heads that divide evenly. @throws ZerothError */
export const headsOf = (
  config: {
    readonly hidden_size: number;
    readonly num_attention_heads: number;
    readonly num_key_value_heads?: number | null | undefined;
    readonly head_dim?: number | null | undefined;
  },
  file: string,
) => {
  const heads = config.num_attention_heads;
  const keyHeads = config.num_key_value_heads ?? heads;
  const headSize = config.head_dim ?? config.hidden_size / heads;
  if (heads % keyHeads !== 0 || !Number.isInteger(headSize) || headSize % 2 !== 0 || headSize > LARGEST_HEAD) {
    throw new ZerothError(
      `${file}: ${heads} heads over ${keyHeads} key heads of size ${headSize} cannot be.\nnum_attention_heads must be a multiple of num_key_value_heads, and head_dim (or hidden_size / num_attention_heads) even and at most ${LARGEST_HEAD}.`,
    );
  }
  return { heads, keyHeads, headSize };
};

/** What every block sees, where some have a window. */
const causal: Readonly<Record<"mask" | "window_mask", (window: number) => Sight>> = {
  mask: () => ({ causal: true }),
  window_mask: (window) => ({ causal: true, window }),
};

/**
 * The plan of a decoder whose configuration has the usual fields.
 *
 * @param windowed whether a block sees a window alone; those of a `sliding_window` that is set
 * @param has whether the file has a tensor: some relatives have biases, or a head of their own, that the configuration does not tell
 */
export const decoderPlan = (
  config: DecoderConfig,
  has: (name: string) => boolean,
  file: string,
  family: string,
  windowed: (layer: number) => boolean = () => true,
): DecoderPlan => {
  const { sliding_window: window } = config;
  const kindOf = (layer: number) => {
    const kind = config.layer_types?.[layer];
    return kind === undefined ? windowed(layer) : kind === "sliding_attention";
  };
  const blocks = Array.from({ length: config.num_hidden_layers }, (_, layer) => ({
    rotary: "",
    mask: typeof window === "number" && kindOf(layer) ? "window_mask" : "mask",
  }));
  const heads = headsOf(config, file);
  const promised = (name: string): boolean =>
    (config.attention_bias && name.includes(".self_attn.")) || (config.mlp_bias && name.includes(".mlp."));
  return {
    ...heads,
    hidden: config.hidden_size,
    inner: config.intermediate_size,
    vocabulary: config.vocab_size,
    contextLength: config.max_position_embeddings,
    // Where the file does not say, it has a head of its own if there is one.
    tied: config.tie_word_embeddings ?? !has(decoderHead),
    activation: config.hidden_act,
    norm: { epsilon: config.rms_norm_eps },
    queryScale: 1 / Math.sqrt(heads.headSize),
    blocks,
    rotary: { "": rotaryOf(config as RotaryFields, heads.headSize, file, unusable(file, family)) },
    masks: Object.fromEntries(
      (["mask", "window_mask"] as const)
        .filter((name) => blocks.some(({ mask }) => mask === name))
        .map((name) => [name, causal[name](window ?? 0)]),
    ),
    hasBias: (name) => promised(name) || has(name),
  };
};
