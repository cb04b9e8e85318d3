import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { load, merge } from "../src/index.js";
import { logitsOf } from "./logits.js";
import { missing, scratchFolder, shared } from "./shared.js";

/* Tiny random models and adapters, with the logits that PyTorch computes for them. */

interface Reference {
  readonly input_ids: readonly (readonly number[])[];
  /** Rows `every`-th apart, [positions][vocabulary], of each input. */
  readonly every: number;
  readonly logits: readonly (readonly (readonly number[])[])[];
}
const fixture = (name: string): string => join(shared, "fixtures", name);
const referenceOf = (name: string): Reference =>
  JSON.parse(readFileSync(join(fixture(name), "reference.json"), "utf8"));

/** The largest distance between logits and the reference's. */
const distance = (outputs: readonly Float32Array[], { every, logits }: Reference): number => {
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

describe.skipIf(missing)("logits as PyTorch computes them", () => {
  it.each([
    "llama",
    "llama-rope-scaled",
    "mistral",
    "qwen2",
    "qwen3",
    "phi3",
    "gemma3",
    "gpt2",
    "opt",
    "opt-post-norm",
    "roberta",
    "roberta-classifier",
    "bert",
  ])("%s", async (name) => {
    const reference = referenceOf(name);
    const outputs = await logitsOf(await load(fixture(name)), reference.input_ids);
    expect(distance(outputs, reference)).toBeLessThan(1e-4);
  });

  it.each(["llama", "gpt2", "opt"].flatMap((base) => ["lora", "rslora"].map((kind) => `${base}-${kind}`)))(
    "%s, an adapter made by PEFT, beside the base and merged into it",
    async (name) => {
      const base = await load(fixture(name.replace(/-.*/, "")));
      const reference = referenceOf(name);
      expect(distance(await logitsOf(base, reference.input_ids, fixture(name)), reference)).toBeLessThan(1e-4);
      // The adapter matters: without it the logits are others.
      expect(distance(await logitsOf(base, reference.input_ids), reference)).toBeGreaterThan(0.1);

      const out = join(await scratchFolder(onTestFinished), "merged");
      await merge(base, { adapter: fixture(name), out });
      expect(distance(await logitsOf(await load(out), reference.input_ids), reference)).toBeLessThan(1e-4);
    },
  );

  it.each(["llama", "gpt2", "opt"].flatMap((base) => ["prefix", "prompt"].map((kind) => `${base}-${kind}`)))(
    "%s, virtual tokens made by PEFT",
    async (name) => {
      const base = await load(fixture(name.replace(/-.*/, "")));
      const reference = referenceOf(name);
      expect(distance(await logitsOf(base, reference.input_ids, fixture(name)), reference)).toBeLessThan(1e-4);
      expect(distance(await logitsOf(base, reference.input_ids), reference)).toBeGreaterThan(0.1);
      const merged = merge(base, { adapter: fixture(name), out: join(await scratchFolder(onTestFinished), "merged") });
      await expect(merged).rejects.toThrow(/cannot be merged: .*no weight of the model holds/);
    },
  );
});
