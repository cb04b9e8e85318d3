import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { load, merge } from "../src/index.js";
import { logitsOf } from "../test/logits.js";
import { adapted, decoders, distance, fixture, referenceOf } from "./reference.js";
import { missing, scratchFolder } from "./shared.js";
import { shows } from "./support.js";

/* Tiny random models and adapters, with the logits that PyTorch computes for them. */

const families = {
  ...decoders,
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

  it.for(adapted.flatMap((base) => adapters.map((way) => [base, way] as const)))(
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

  it.for(adapted.flatMap((base) => (["prefix", "prompt"] as const).map((kind) => [base, kind] as const)))(
    "%s, virtual tokens made by PEFT: %s",
    async ([of, kind], { task }) => {
      shows(task, families[of], kind);
      const name = `${of}-${kind}`;
      const base = await load(fixture(of));
      const reference = referenceOf(name);
      expect(distance(await logitsOf(base, reference.input_ids, fixture(name)), reference)).toBeLessThan(1e-4);
      expect(distance(await logitsOf(base, reference.input_ids), reference)).toBeGreaterThan(0.1);
      const merged = merge(base, { adapter: fixture(name), out: join(await scratchFolder(onTestFinished), "merged") });
      await expect(merged).rejects.toThrow(/cannot be merged: .*no weight of the model holds/);
    },
  );
});
