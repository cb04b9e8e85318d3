import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { lora, method, mezo } from "../../src/api/choices.js";
import { openAdapted, openEngine } from "../../src/api/engines.js";
import { examplesOf } from "../../src/api/examples.js";
import { finetune } from "../../src/api/finetune.js";
import { load, type Model } from "../../src/api/load.js";
import { replay } from "../../src/api/replay.js";
import type { FinetuneOptions } from "../../src/api/types.js";
import { packs } from "../../src/batch/pack.js";
import { readRows } from "../../src/data/rows.js";
import { templateTask } from "../../src/data/template.js";
import { runOf } from "../../src/engine/feeds.js";
import { openTiny } from "../export/models.js";
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

test("GPT-2's matrices, which lie the other way, are rounded as others are", async () => {
  const turned = await openTiny("gpt2");
  const logits = async (quantize?: 4 | 8) => {
    const { engine } = await openAdapted(turned, { quantize });
    const branch = { ids: [0], scored: [1, 2, 3] };
    const runs = packs([{ shared: [3, 5, 7], branches: [branch], label: 0, line: 1, truncated: 0 }], {
      head: "tokens",
    });
    const [outputs = []] = await engine.evaluate({
      points: [[]],
      runs: runs.map((pack) => runOf(turned.family, pack)),
    });
    await engine.close();
    return outputs.flatMap((output) => [...output]);
  };
  const [whole, eight, four] = [await logits(), await logits(8), await logits(4)];
  const apart = (found: readonly number[]) => Math.max(...found.map((value, i) => Math.abs(value - (whole[i] ?? 0))));
  expect(Math.max(...whole.map(Math.abs))).toBeGreaterThan(1);
  expect(apart(eight)).toBeGreaterThan(0);
  expect(apart(eight)).toBeLessThan(0.05);
  expect(apart(four)).toBeGreaterThan(apart(eight));
  expect(apart(four)).toBeLessThan(1);
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

test.each([
  [lora({ rank: 2 }), 1e-2],
  [method("sparse", { density: 0.001 }), 1e-4],
])("a run on rounded matrices is gone on with and replayed bit for bit: %o", async (choice, learningRate) => {
  const options: FinetuneOptions = {
    ...task,
    ...{ method: choice, optimizer: mezo({ learningRate }), quantize: 4 },
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
