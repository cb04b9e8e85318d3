import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { lora, mezo } from "../../src/api/choices.js";
import { openEngine } from "../../src/api/engines.js";
import { examplesOf } from "../../src/api/examples.js";
import { finetune } from "../../src/api/finetune.js";
import { load, type Model } from "../../src/api/load.js";
import { replay } from "../../src/api/replay.js";
import type { FinetuneOptions } from "../../src/api/types.js";
import { packs } from "../../src/batch/pack.js";
import { readRows } from "../../src/data/rows.js";
import { templateTask } from "../../src/data/template.js";
import { runOf } from "../../src/engine/feeds.js";
import { asset, scratch, task } from "../seedling.js";

/* Frozen matrices in 4 and 8 bits, on the model that ships with Zeroth. */

const { place, fresh } = scratch("quantize");
vi.stubEnv("XDG_CACHE_HOME", join(place, "cache"));
afterAll(() => {
  vi.unstubAllEnvs();
});

let model: Model;
beforeAll(async () => {
  model = await load(asset("seedling"));
});

/** What the head gives on some rows: the logits of two words (from rows of the matrix) and log-probabilities (from all of it). */
const outputsOf = async (head: "columns" | "tokens", quantize?: 4 | 8): Promise<number[]> => {
  const rows = (await readRows(join(asset("quickstart"), "validation.jsonl"))).slice(0, 12);
  const { trees } = examplesOf(model, templateTask(task), rows);
  const method = { kind: "full", placement: "in-place", firstLayer: 0, tensors: [] } as const;
  const engine = await openEngine(model, { method, quantize, threads: 1 });
  const runs = packs(trees, { head }).map((pack) => runOf(model.family, pack));
  const [outputs = []] = await engine.evaluate({ points: [[]], runs });
  await engine.close();
  return outputs.flatMap((output) => [...output]);
};

test.each(["columns", "tokens"] as const)(
  "rounding matrices moves the %s little in 8 bits, and more in 4",
  async (head) => {
    const whole = await outputsOf(head);
    const spread = Math.sqrt(whole.reduce((sum, value) => sum + value * value, 0) / whole.length);
    const apart = async (bits: 4 | 8) => {
      const rounded = await outputsOf(head, bits);
      expect(rounded).toHaveLength(whole.length);
      return Math.sqrt(rounded.reduce((sum, value, i) => sum + (value - whole[i]!) ** 2, 0) / whole.length) / spread;
    };
    const [eight, four] = [await apart(8), await apart(4)];
    expect(eight).toBeGreaterThan(0);
    expect(eight).toBeLessThan(0.02);
    expect(four).toBeLessThan(0.3);
    expect(four).toBeGreaterThan(4 * eight);
  },
);

test("a run on rounded matrices is gone on with and replayed bit for bit", async () => {
  const options: FinetuneOptions = {
    ...task,
    ...{ method: lora({ rank: 2 }), optimizer: mezo({ learningRate: 1e-2 }), quantize: 4 },
    ...{ threads: 1, batchSize: 8, trainRows: 40, devRows: 0, steps: 6 },
  };
  const weights = (out: string) => readFileSync(join(out, "adapter_model.safetensors")).toString("latin1");
  const calm = fresh();
  for await (const _ of finetune(model, { ...options, out: calm }));

  const stopped = fresh();
  const stop = new AbortController();
  for await (const event of finetune(model, { ...options, out: stopped, signal: stop.signal })) {
    if (event.type === "step" && event.step === 3) stop.abort();
  }
  // The journal knows what the losses were computed with.
  const otherwise = async () => {
    for await (const _ of finetune(model, { ...options, quantize: 8, out: stopped, resume: true }));
  };
  await expect(otherwise()).rejects.toThrow(/quantize/);
  for await (const _ of finetune(model, { ...options, out: stopped, resume: true }));
  expect(weights(stopped)).toBe(weights(calm));

  const again = fresh();
  await replay(model, { run: calm, out: again, threads: 2 });
  expect(weights(again)).toBe(weights(calm));
});
