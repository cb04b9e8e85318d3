import { z } from "zod";
import type { Family } from "../family.js";
import { decoder } from "../layers/decoder.js";
import { configOf, decoderFields, decoderPlan } from "./config.js";

const { sliding_window: _, layer_types: __, ...fields } = decoderFields;
const schema = z.looseObject(fields);

/** Llama 1 to 3, SmolLM, TinyLlama, Vicuna: RMSNorm, rotary positions, grouped-query attention, SwiGLU. */
export const llama: Family = {
  modelTypes: ["llama"],
  bind(raw, has, file) {
    const config = configOf(schema, raw, file, "Llama");
    return decoder(decoderPlan({ ...config, sliding_window: null, layer_types: null }, has, file, "Llama"));
  },
};
