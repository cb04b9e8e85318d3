import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../atomic.js";
import { type WritableEncoding, writers } from "../model/encodings.js";
import type { BoundFamily } from "../model/family.js";
import type { OpenModel } from "../model/open.js";
import { writeSafetensors } from "../model/safetensors.js";
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS } from "./adapter.js";
import { moduleLeaf } from "./lora.js";
import type { LayerRange, Trainable } from "./method.js";

/** Reads a tensor's values out of wherever they live, whole or a piece at a time. */
export type Reader = (name: string) => Promise<Float32Array> | AsyncIterable<Float32Array>;

/** A tensor's bytes in the type that they are saved in. */
async function* encoded(values: ReturnType<Reader>, dtype: WritableEncoding): AsyncGenerator<Uint8Array> {
  const given = await values;
  for await (const piece of given instanceof Float32Array ? [given] : given) yield writers[dtype](piece);
}

/** The configuration of an adapter as PEFT writes it, keys sorted: equal adapters give equal bytes. */
const peftConfig = (
  base: string,
  { rank, alpha, layers, turned, task, patterns }: AdapterSettings,
  targets: readonly string[],
): Readonly<Record<string, unknown>> => ({
  alpha_pattern: patterns?.alpha ?? {},
  base_model_name_or_path: base,
  bias: "none",
  fan_in_fan_out: turned,
  inference_mode: true,
  init_lora_weights: true,
  layers_pattern: null,
  layers_to_transform:
    layers === null ? null : Array.from({ length: layers[1] - layers[0] + 1 }, (_, i) => layers[0] + i),
  lora_alpha: alpha,
  lora_dropout: 0,
  modules_to_save: null,
  peft_type: "LORA",
  r: rank,
  rank_pattern: patterns?.rank ?? {},
  revision: null,
  target_modules: [...targets].sort(),
  task_type: task,
  use_dora: false,
  use_rslora: false,
});

const folderFor = async (folder: string): Promise<void> => {
  await mkdir(folder, { recursive: true });
};

/** What PEFT must know of an adapter besides its tensors. */
export interface AdapterSettings {
  readonly rank: number;
  readonly alpha: number;
  /** As they were given: `q_proj`, or one layer's path. */
  readonly targets: readonly string[] | "all-linear";
  readonly layers: LayerRange | null;
  /** The base keeps its linear weights [inputs, outputs]. */
  readonly turned: boolean;
  readonly task: "CAUSAL_LM" | "SEQ_CLS" | null;
  /** Modules whose rank or alpha is another one, by their paths. */
  readonly patterns?: {
    readonly rank: Readonly<Record<string, number>>;
    readonly alpha: Readonly<Record<string, number>>;
  };
}

/** What PEFT must know of the model that an adapter is for. */
export const adapterFacts = ({ parameters, reads }: BoundFamily) => ({
  turned: parameters.some(({ turned }) => turned === true),
  task: ({ next: "CAUSAL_LM", masked: null, class: "SEQ_CLS" } as const)[reads],
});

/** Writes a LoRA adapter in PEFT's layout. */
export const saveAdapter = async (
  folder: string,
  model: OpenModel,
  tensors: readonly Pick<Trainable, "name" | "shape">[],
  settings: AdapterSettings,
  read: Reader,
  dtype: WritableEncoding = "F32",
): Promise<void> => {
  await folderFor(folder);
  const entries = tensors.map(({ name, shape }) => ({
    name,
    shape,
    dtype,
    bytes: () => encoded(read(name), dtype),
  }));
  await writeSafetensors(join(folder, ADAPTER_WEIGHTS), entries);
  const { targets } = settings;
  const adapted = targets === "all-linear" ? [...new Set(tensors.map(({ name }) => moduleLeaf(name)))] : targets;
  const config = peftConfig(model.origin.spec, settings, adapted);
  await writeFileAtomic(join(folder, ADAPTER_CONFIG), `${JSON.stringify(config, null, 2)}\n`);
};

/** Names of dtypes as `config.json` has them. */
const configDtypes: Readonly<Record<WritableEncoding, string>> = { F32: "float32", F16: "float16", BF16: "bfloat16" };

/** Writes a whole model folder: weights in one safetensors file, configuration, tokenizer and what else went with it. */
export const saveModel = async (
  folder: string,
  model: OpenModel,
  tensors: readonly { readonly name: string; readonly shape: readonly number[] }[],
  read: Reader,
  dtype: WritableEncoding = "F32",
): Promise<void> => {
  await folderFor(folder);
  const entries = tensors.map(({ name, shape }) => ({
    name,
    shape,
    dtype,
    bytes: () => encoded(read(name), dtype),
  }));
  // The weights first: they are what may fail, and a folder without a configuration is no model.
  await writeSafetensors(join(folder, "model.safetensors"), entries);
  for (const { name, content } of model.sidecars()) await writeFileAtomic(join(folder, name), content);
  const { torch_dtype: _, ...config } = model.config;
  await writeFileAtomic(
    join(folder, "config.json"),
    `${JSON.stringify({ ...config, dtype: configDtypes[dtype] }, null, 2)}\n`,
  );
};
