import { unusable } from "../families/config.js";
import type { Json } from "../json.js";
import { divisorsOf, rotaryOf } from "../layers/rotary.js";

/** Llama 3.1's published constants, which a GGUF does not tell. */
const LLAMA3 = { rope_type: "llama3", low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };

/** The scaling that divisors of the rotary frequencies amount to: Llama 3's by the largest of them; undefined for none, null for another one. */
export const llama3Scaling = (
  divisors: readonly number[],
  theta: number,
  headSize: number,
  file: string,
): Json | undefined | null => {
  const factor = divisors.reduce((most, one) => Math.max(most, one), 1);
  if (!Number.isFinite(factor)) return null;
  const scaling = { ...LLAMA3, factor };
  const fields = { rope_theta: theta, rope_scaling: scaling, max_position_embeddings: 1 };
  const expected = divisorsOf(rotaryOf(fields, headSize, file, unusable(file, "Llama")));
  const fits =
    divisors.length === expected.length && expected.every((one, i) => Math.abs((divisors[i] ?? 0) / one - 1) < 1e-4);
  if (!fits) return null;
  return factor === 1 ? undefined : scaling;
};
