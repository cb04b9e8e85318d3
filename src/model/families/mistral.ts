import { z } from "zod";
import type { Family } from "../family.js";
import { decoder } from "../layers/decoder.js";
import { configOf, decoderFields, decoderPlan } from "./config.js";

const schema = z.looseObject(decoderFields);

/** Mistral: Llama whose tokens see a window of the last `sliding_window` ones, where that is set. */
export const mistral: Family = {
  modelTypes: ["mistral"],
  bind: (raw, has, file) => decoder(decoderPlan(configOf(schema, raw, file, "Mistral"), has, file, "Mistral")),
};
