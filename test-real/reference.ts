import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { shared } from "./shared.js";

/* Tiny random models and adapters, with the logits that PyTorch computes for them. */

export interface Reference {
  readonly input_ids: readonly (readonly number[])[];
  /** Rows `every`-th apart, [positions][vocabulary], of each input. */
  readonly every: number;
  readonly logits: readonly (readonly (readonly number[])[])[];
}
export const fixture = (name: string): string => join(shared, "fixtures", name);
export const referenceOf = (name: string): Reference =>
  JSON.parse(readFileSync(join(fixture(name), "reference.json"), "utf8"));

/** The largest distance between logits and the reference's. */
export const distance = (outputs: readonly Float32Array[], { every, logits }: Reference): number => {
  let worst = 0;
  for (const [i, rows] of logits.entries()) {
    for (const [r, row] of rows.entries()) {
      const found = outputs[i]?.subarray(r * every * row.length, (r * every + 1) * row.length) ?? [];
      expect(found).toHaveLength(row.length);
      for (const [v, value] of row.entries()) worst = Math.max(worst, Math.abs((found[v] ?? Number.NaN) - value));
    }
  }
  return worst;
};

/** Fixtures that write text, and the families that they are of, as the README's table names them. */
export const decoders = {
  llama: "Llama",
  "llama-rope-scaled": "Llama 3.1, scaled positions",
  mistral: "Mistral",
  qwen2: "Qwen2",
  qwen3: "Qwen3",
  phi3: "Phi-3",
  gemma3: "Gemma 3",
  gpt2: "GPT-2",
  opt: "OPT",
  "opt-post-norm": "OPT, norms after (350M)",
} as const;

/** Those that PEFT made adapters for. */
export const adapted = ["llama", "gpt2", "opt"] as const;
