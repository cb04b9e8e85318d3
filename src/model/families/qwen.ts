import { z } from "zod";
import type { Family } from "../family.js";
import { decoder } from "../layers/decoder.js";
import { configOf, decoderFields, decoderPlan } from "./config.js";

const schema = z.looseObject({
  ...decoderFields,
  use_sliding_window: z.boolean().default(false),
  max_window_layers: z.int().min(0).default(0),
});

/** What Qwen 2 and 3 share: a window only where it is asked for, and then from block `max_window_layers` on. */
const planOf = (raw: Readonly<Record<string, unknown>>, has: (name: string) => boolean, file: string, name: string) => {
  const config = configOf(schema, raw, file, name);
  const { use_sliding_window: windows, max_window_layers: from, sliding_window: window } = config;
  const plan = { ...config, sliding_window: windows ? window : null };
  return decoderPlan(plan, has, file, name, (layer) => layer >= from);
};

/** Qwen 2 and 2.5: Llama with biases on queries, keys and values. */
export const qwen2: Family = {
  modelTypes: ["qwen2"],
  bind(raw, has, file) {
    const plan = planOf(raw, has, file, "Qwen2");
    const hasBias = (name: string) => /\.self_attn\.[qkv]_proj\.bias$/.test(name) || plan.hasBias(name);
    return decoder({ ...plan, hasBias });
  },
};

/** Qwen 3: a norm over each head's queries and keys in place of the biases. */
export const qwen3: Family = {
  modelTypes: ["qwen3"],
  bind: (raw, has, file) => decoder({ ...planOf(raw, has, file, "Qwen3"), headNorms: true }),
};
