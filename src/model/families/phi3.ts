import { z } from "zod";
import type { Family } from "../family.js";
import { decoder } from "../layers/decoder.js";
import { configOf, decoderFields, decoderPlan } from "./config.js";

const schema = z.looseObject(decoderFields);

/** Phi-3 and Phi-4-mini: queries, keys and values in one matrix, gate and up in another; LongRoPE on the long-context models. */
export const phi3: Family = {
  modelTypes: ["phi3"],
  bind: (raw, has, file) =>
    decoder({ ...decoderPlan(configOf(schema, raw, file, "Phi-3"), has, file, "Phi-3"), fused: true }),
};
