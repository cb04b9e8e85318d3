import { z } from "zod";
import { ZerothError } from "../../errors.js";
import { activation, configOf, decoderFields, headsOf, unusable } from "../../model/families/config.js";
import { gemma3Config } from "../../model/families/gemma3.js";
import {
  type GgufArchitectureName,
  gemma3Scalar,
  ggufArchitectures,
  type HeadCounts,
} from "../../model/gguf/architectures.js";
import type { GgufEntry } from "../../model/gguf/write.js";
import type { Json } from "../../model/json.js";
import { divisorsOf, rotaryOf } from "../../model/layers/rotary.js";

/** What llama.cpp must know of a model beside its tensors. */
export interface GgufLayout {
  readonly architecture: GgufArchitectureName;
  /** Keys are without the architecture's name before them. */
  readonly numbers: readonly GgufEntry[];
  /** Divisors of the rotary frequencies, where they are no plain scaling: the values of its `rope_freqs.weight`. */
  readonly rotaryFactors?: Float32Array;
  readonly counts: HeadCounts;
  /** Whether its blocks may see a window alone. */
  readonly windows?: boolean;
}

type LayoutOf = (config: Json, file: string) => GgufLayout;

const refusal = (file: string, what: string): ZerothError =>
  new ZerothError(`${file}: ${what}, which llama.cpp's form of this architecture has no place for. Export it as onnx.`);

/** The numbers that every file of an architecture has. */
const numbersOf = (architecture: GgufArchitectureName, config: Json): readonly GgufEntry[] =>
  Object.entries(ggufArchitectures[architecture].numbers).map(([field, [key, type]]) => [
    key,
    type,
    Number(config[field]),
  ]);

const schema = z.looseObject(decoderFields);
type DecoderConfig = z.output<typeof schema>;

interface Form {
  /** Whether every element of a head must turn. */
  readonly whole?: boolean;
  /** What is computed between gate and up. */
  readonly activation?: string;
}

const decoderLayout = (
  architecture: GgufArchitectureName,
  config: DecoderConfig,
  file: string,
  { whole = false, activation: wanted = "silu" }: Form = {},
): GgufLayout => {
  const { heads, keyHeads, headSize } = headsOf(config, file);
  const settings = config.rope_parameters ?? config.rope_scaling ?? {};
  const kind = settings.rope_type ?? settings.type ?? "default";
  const rotary = rotaryOf(config, headSize, file, unusable(file, architecture));
  if (config.hidden_act !== wanted) throw refusal(file, `its activation is ${config.hidden_act}`);
  if (kind === "longrope") throw refusal(file, "its rotary scaling is longrope");
  if (whole && rotary.elements !== headSize) throw refusal(file, "it turns only a part of each head");
  return {
    architecture,
    numbers: [
      ...numbersOf(architecture, config),
      ["attention.head_count_kv", "u32", keyHeads],
      ["attention.key_length", "u32", headSize],
      ["attention.value_length", "u32", headSize],
      ["rope.dimension_count", "u32", rotary.elements],
      ["rope.freq_base", "f32", rotary.theta],
      ...(kind === "linear"
        ? ([
            ["rope.scaling.type", "string", "linear"],
            ["rope.scaling.factor", "f32", Number(settings.factor)],
          ] satisfies readonly GgufEntry[])
        : []),
    ],
    ...(kind === "llama3" ? { rotaryFactors: Float32Array.from(divisorsOf(rotary)) } : {}),
    counts: { heads, keyHeads },
  };
};

const decoder =
  (architecture: GgufArchitectureName, form?: Form): LayoutOf =>
  (raw, file) =>
    decoderLayout(architecture, configOf(schema, raw, file, architecture), file, form);

/** Windows in all blocks but every so manieth: llama.cpp knows no other order. */
const periodOf = (windowed: readonly boolean[]): number | undefined =>
  [...windowed, false]
    .map((_, i) => i + 1)
    .find((period) => windowed.every((is, i) => is === ((i + 1) % period !== 0)));

const gemma3: LayoutOf = (raw, file) => {
  const { config, usual, local, windowed } = gemma3Config(raw, file);
  const layout = decoderLayout("gemma3", usual, file, { activation: "gelu_pytorch_tanh" });
  const { headSize } = headsOf(config, file);
  const scaledBy = gemma3Scalar(config, headSize);
  const period = periodOf(Array.from({ length: config.num_hidden_layers }, (_, layer) => windowed(layer)));
  for (const [what, is] of [
    ["attn_logit_softcapping is set", config.attn_logit_softcapping != null],
    ["final_logit_softcapping is set", config.final_logit_softcapping != null],
    [`query_pre_attn_scalar is not ${scaledBy}`, config.query_pre_attn_scalar !== scaledBy],
    ["its windows come in no period", period === undefined],
  ] as const)
    if (is) throw refusal(file, what);
  return {
    ...layout,
    windows: true,
    numbers: [
      ...layout.numbers,
      ["attention.sliding_window", "u32", config.sliding_window ?? 0],
      ["attention.sliding_window_pattern", "u32", period ?? 1],
      ["rope.freq_base_swa", "f32", rotaryOf(local, headSize, file, unusable(file, "gemma3")).theta],
    ],
  };
};

const gpt2Schema = z.looseObject({
  n_embd: z.int(),
  n_layer: z.int(),
  n_head: z.int(),
  n_inner: z.int().nullish(),
  n_positions: z.int(),
  layer_norm_epsilon: z.number().default(1e-5),
  activation_function: activation.default("gelu_new"),
});

const gpt2: LayoutOf = (raw, file) => {
  const config = configOf(gpt2Schema, raw, file, "GPT-2");
  const { n_head: heads, n_embd: hidden, activation_function: act } = config;
  if (!["gelu_new", "gelu_pytorch_tanh"].includes(act)) throw refusal(file, `its activation is ${act}`);
  return {
    architecture: "gpt2",
    numbers: numbersOf("gpt2", { ...config, n_inner: config.n_inner ?? 4 * hidden }),
    counts: { heads, keyHeads: heads },
  };
};

const llama = decoder("llama", { whole: true });

/** By the configuration's `model_type`: one more is one more row, beside the architecture's in `model/gguf/architectures.ts`. */
const layouts: Readonly<Record<string, LayoutOf>> = {
  llama,
  mistral: llama,
  qwen2: decoder("qwen2"),
  qwen3: decoder("qwen3"),
  phi3: decoder("phi3"),
  gemma3_text: gemma3,
  gpt2,
};

/** @throws ZerothError in one sentence where llama.cpp's form of the model is not known */
export const ggufLayout = (config: Json, file: string): GgufLayout => {
  const type = String(config.model_type);
  const layoutOf = Object.hasOwn(layouts, type) ? layouts[type] : undefined;
  if (layoutOf !== undefined) return layoutOf(config, file);
  const known = Object.keys(layouts).join(", ");
  throw new ZerothError(`${file}: Zeroth writes GGUF for ${known}, not for ${type.slice(0, 60)}.`, { kind: "usage" });
};
