import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { load, merge } from "../src/index.js";
import { logitsOf } from "./logits.js";
import { missing, scratchFolder, shared } from "./shared.js";
import { shows } from "./support.js";

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

/** Fixtures and the families that they are of, as the README's table names them. */
const families = {
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
  roberta: "RoBERTa, masked",
  "roberta-classifier": "RoBERTa, classifier",
  bert: "BERT, masked",
} as const;
const adapters = ["LoRA", "rsLoRA"] as const;

describe.skipIf(missing)("logits as PyTorch computes them", () => {
  it.for(Object.entries(families))("%s", async ([name, family], { task }) => {
    shows(task, family, "safetensors");
    const reference = referenceOf(name);
    const outputs = await logitsOf(await load(fixture(name)), reference.input_ids);
    expect(distance(outputs, reference)).toBeLessThan(1e-4);
  });

  it.for((["llama", "gpt2", "opt"] as const).flatMap((base) => adapters.map((way) => [base, way] as const)))(
    "%s with %s made by PEFT, beside the base and merged into it",
    async ([of, way], { task }) => {
      shows(task, families[of], way, "merge");
      const name = `${of}-${way.toLowerCase()}`;
      const base = await load(fixture(of));
      const reference = referenceOf(name);
      expect(distance(await logitsOf(base, reference.input_ids, fixture(name)), reference)).toBeLessThan(1e-4);
      // The adapter matters: without it the logits are others.
      expect(distance(await logitsOf(base, reference.input_ids), reference)).toBeGreaterThan(0.1);

      const out = join(await scratchFolder(onTestFinished), "merged");
      await merge(base, { adapter: fixture(name), out });
      expect(distance(await logitsOf(await load(out), reference.input_ids), reference)).toBeLessThan(1e-4);
    },
  );

  it.for(
    (["llama", "gpt2", "opt"] as const).flatMap((base) =>
      (["prefix", "prompt"] as const).map((kind) => [base, kind] as const),
    ),
  )("%s, virtual tokens made by PEFT: %s", async ([of, kind], { task }) => {
    shows(task, families[of], kind);
    const name = `${of}-${kind}`;
    const base = await load(fixture(of));
    const reference = referenceOf(name);
    expect(distance(await logitsOf(base, reference.input_ids, fixture(name)), reference)).toBeLessThan(1e-4);
    expect(distance(await logitsOf(base, reference.input_ids), reference)).toBeGreaterThan(0.1);
    const merged = merge(base, { adapter: fixture(name), out: join(await scratchFolder(onTestFinished), "merged") });
    await expect(merged).rejects.toThrow(/cannot be merged: .*no weight of the model holds/);
  });
});
