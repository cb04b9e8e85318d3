import type { Json } from "../json.js";
import type { Linear } from "./linear.js";

/* Module paths as PEFT has them, from the names that exporters give nodes and tensors. */

/** `/model/layers.0/self_attn/q_proj/MatMul` → `model.layers.0.self_attn.q_proj`. */
const ofNode = (name: string): string | undefined => {
  const parts = name.split("/").filter((part) => part !== "");
  return name.startsWith("/") && parts.length > 1 ? parts.slice(0, -1).join(".") : undefined;
};

/** `model.layers.0.attn.q_proj.MatMul.weight` → `model.layers.0.attn.q_proj`, and so without what quantising adds. */
const ofTensor = (name: string): string | undefined => {
  const bare = name.replace(/_(Q[248]|quantized|DQ_Q[248])$/, "");
  const [, module] = /^(.*?)(?:\.MatMul(?:NBits)?)?\.(?:weight|qweight)$/.exec(bare) ?? [];
  return module;
};

/** ONNX Runtime GenAI's builder says `attn` where the models it builds say `self_attn`. */
const published = (module: string): string =>
  module.replace(/(^|\.)layers\.(\d+)\.attn\.(?=(q|k|v|o|qkv)_proj$|(q|k)_norm$)/, "$1layers.$2.self_attn.");

/** The module path of a linear layer. A node's name says more than that of a matrix, which others may share. */
export const moduleName = ({ node, stored, output }: Linear): string =>
  published(ofNode(node.name) ?? ofTensor(stored) ?? (node.name || output).replaceAll("/", "."));

/** The index of the block that a name belongs to: its first number. */
export const layerOf = (name: string): number | undefined => {
  const [, layer] = /(?:^|\.)(?:layers|layer|h|blocks|block)\.(\d{1,4})\./.exec(name) ?? [];
  return layer === undefined ? undefined : Number(layer);
};

/** A module of a model as its author wrote it: a layer, or some outputs of a layer that an exporter made of several. */
export interface Part {
  readonly module: string;
  /** Where its outputs begin. */
  readonly from: number;
  readonly outputs: number;
}

const whole = (value: unknown): number =>
  typeof value === "number" && Number.isInteger(value) && value > 0 ? value : 0;

/** The modules that a linear layer is: three where an exporter joined queries, keys and values that the model keeps apart. */
export const partsOf = (module: string, outputs: number, config: Json): readonly Part[] => {
  const plain = [{ module, from: 0, outputs }];
  if (!module.endsWith(".self_attn.qkv_proj") || config.model_type === "phi3" || config.model_type === "phi")
    return plain;
  const heads = whole(config.num_attention_heads);
  const keyHeads = whole(config.num_key_value_heads) || heads;
  const size = outputs / (heads + 2 * keyHeads);
  if (heads === 0 || !Number.isInteger(size)) return plain;
  let from = 0;
  return [["q_proj", heads] as const, ["k_proj", keyHeads] as const, ["v_proj", keyHeads] as const].map(
    ([name, count]) => {
      const part = { module: module.replace(/qkv_proj$/, name), from, outputs: count * size };
      from += part.outputs;
      return part;
    },
  );
};

/** What LoRA adapts where nothing is said: PEFT's defaults, by the names that a model has. */
const usual: readonly (readonly string[])[] = [
  ["q_proj", "v_proj"],
  ["query", "value"],
  ["q_lin", "v_lin"],
  ["c_attn"],
  ["qkv_proj"],
  ["query_key_value"],
];
const leafOf = (module: string): string => module.split(".").at(-1) ?? module;

export const targetsOf = (modules: readonly string[]): readonly string[] => {
  const leaves = new Set(modules.map(leafOf));
  return usual.find((names) => names.every((name) => leaves.has(name))) ?? [...leaves];
};
