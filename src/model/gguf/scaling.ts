import type { Json } from "../json.js";

const LLAMA3 = { rope_type: "llama3", low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };

/** Llama 3.1's scaling with its published constants, as divisors of the frequencies. */
const llama3Factors = (theta: number, headSize: number, factor: number): readonly number[] =>
  Array.from({ length: headSize / 2 }, (_, i) => {
    const turns = (LLAMA3.original_max_position_embeddings * theta ** ((-2 * i) / headSize)) / (2 * Math.PI);
    const { low_freq_factor: low, high_freq_factor: high } = LLAMA3;
    const smooth = Math.min(1, Math.max(0, (turns - low) / (high - low)));
    return 1 / ((1 - smooth) / factor + smooth);
  });

/** The scaling that divisors of the rotary frequencies amount to: Llama 3's by the largest of them; undefined for none, null for another one. */
export const llama3Scaling = (
  divisors: readonly number[],
  theta: number,
  headSize: number,
): Json | undefined | null => {
  const factor = divisors.reduce((most, one) => Math.max(most, one), 1);
  const expected = llama3Factors(theta, headSize, factor);
  const fits =
    divisors.length === expected.length && expected.every((one, i) => Math.abs((divisors[i] ?? 0) / one - 1) < 1e-4);
  if (!fits) return null;
  return factor === 1 ? undefined : { ...LLAMA3, factor };
};
