import type { Trainable } from "./method.js";

/** A tensor's module: its name less what PEFT puts around it and what says which of the module's tensors, or a core of which, it is. */
const moduleOf = (name: string): string =>
  name
    .replace(/^base_model\.model\./, "")
    .replace(/#core$/, "")
    .replace(/\.(lora_[AB]\.weight|tensor_train\..*|weight\.values)$/, "")
    .replace(/\.(weight|bias)$/, "");

const partOf = (name: string): string => {
  // A block's first norm goes with attention, its second with the MLP, whatever a family calls them.
  const isAttention = /attn|attention|\b(input_layernorm|ln_1|self_attn_layer_norm)\b/i.test(
    name.replace(/post_attention_\w*norm/, ""),
  );
  return isAttention ? "attention" : "mlp";
};

/** What makes tensors one block of a block-wise sweep: equal names. What is in no block of the model is a block of its own. */
const levels = {
  transformer: ({ name, layer }: Trainable) => (layer === undefined ? moduleOf(name) : String(layer)),
  "attention-mlp": ({ name, layer }: Trainable) => (layer === undefined ? moduleOf(name) : `${layer} ${partOf(name)}`),
  linear: ({ name }: Trainable) => moduleOf(name),
} satisfies Readonly<Record<string, (tensor: Trainable) => string>>;

export type PartitionLevel = keyof typeof levels;

export const partitionLevels = Object.keys(levels) as readonly PartitionLevel[];

/** The block of each tensor, counted from 0 in the order of the tensors. */
export const partition = (tensors: readonly Trainable[], level: PartitionLevel): ReadonlyMap<string, number> => {
  const blocks = new Map<string, number>();
  return new Map(
    tensors.map((tensor) => {
      const name = levels[level](tensor);
      const block = blocks.get(name) ?? blocks.size;
      blocks.set(name, block);
      return [tensor.name, block];
    }),
  );
};
