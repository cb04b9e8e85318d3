import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { full, lora, mezo } from "../../src/api/choices.js";
import { openEngine } from "../../src/api/engines.js";
import { trainingTrees } from "../../src/api/examples.js";
import { finetune } from "../../src/api/finetune.js";
import { load, type Model } from "../../src/api/load.js";
import { trainerOf } from "../../src/api/prepare.js";
import { replay } from "../../src/api/replay.js";
import { outputs } from "../../src/api/score.js";
import { resolveSettings } from "../../src/api/settings.js";
import type { FinetuneOptions, MethodChoice, StepEvent } from "../../src/api/types.js";
import { packs } from "../../src/batch/pack.js";
import { readRows } from "../../src/data/rows.js";
import { templateTask } from "../../src/data/template.js";
import { runOf } from "../../src/engine/feeds.js";
import { readTensorSync } from "../../src/model/weights.js";
import { readAdapter } from "../../src/peft/adapter.js";
import { asset, scratch, task } from "../seedling.js";

/* Training some blocks alone: what comes before them runs once a row. On the model that ships with Zeroth, which has six blocks. */

const { fresh } = scratch("layers");

let model: Model;
beforeAll(async () => {
  model = await load(asset("seedling"));
});

// 20 rows in batches of 8: epochs end within batches, and from step 3 on every row was seen before.
const small = { ...task, threads: 1, batchSize: 8, trainRows: 20, devRows: 10, evalEvery: 4, steps: 9 } as const;
const methods = {
  lora: (layers?: readonly [number, number]) => lora({ rank: 2, layers }),
  full: (layers?: readonly [number, number]) => full({ layers }),
};
const files = { lora: "adapter_model.safetensors", full: "model.safetensors" } as const;
type Kind = keyof typeof files;
const weights = (out: string, kind: Kind) => readFileSync(join(out, files[kind])).toString("latin1");
const optimizer = (kind: string) => mezo(kind === "lora" ? { learningRate: 1e-2 } : { learningRate: 1e-4 });

const run = async (method: MethodChoice, options: Partial<FinetuneOptions>): Promise<number[]> => {
  const losses: number[] = [];
  const events = finetune(model, { ...small, method, optimizer: optimizer(method.kind), ...options });
  for await (const event of events) if (event.type === "step") losses.push((event satisfies StepEvent).loss);
  return losses;
};

describe.each(["lora", "full"] as const)("%s on blocks 3 to 4", (kind) => {
  const layers = [3, 4] as const;
  const out = fresh();
  let losses: number[];
  beforeAll(async () => {
    losses = await run(methods[kind](layers), { out });
  });

  test("trains the tensors of those blocks and no others", async () => {
    const blocks = new Set<number>();
    const names =
      kind === "lora"
        ? [...readAdapter(out, model).tensors.keys()]
        : [...(await load(out)).files.weights].flatMap(([name, source]) => {
            const [before, after] = [model.files.weights.get(name)!, source].map((one) => readTensorSync(one));
            return Buffer.from(before!.buffer).equals(Buffer.from(after!.buffer)) ? [] : [name];
          });
    for (const name of names) blocks.add(Number(/layers\.(\d+)\./.exec(name)?.[1]));
    expect([...blocks].sort()).toEqual([3, 4]);
    if (kind === "lora") {
      const config = JSON.parse(readFileSync(join(out, "adapter_config.json"), "utf8"));
      expect(config.layers_to_transform).toEqual([3, 4]);
    }
  });

  test("computes what the uncut model computes, at any point", async () => {
    const settings = resolveSettings({ method: kind, layers, ...(kind === "lora" ? { rank: 2 } : {}) }, 1);
    const training = trainerOf(model, settings, 8);
    const { method } = training;
    expect(method.firstLayer).toBe(3);
    const rows = (await readRows(join(asset("quickstart"), "train.jsonl"))).slice(0, 8);
    const treeAt = trainingTrees(model, templateTask(task), rows);
    const runs = packs(rows.map((_, i) => treeAt(i))).map((pack) => runOf(model.family, pack));
    const key = { seed: 1n, stream: "noise", step: 0, query: 0 } as const;
    const points = [[], [{ key, scale: 1e-2 }], [{ key, scale: -1e-2 }]];
    const found: number[][] = [];
    for (const firstLayer of [3, 0]) {
      const engine = await openEngine(model, { method: { ...method, firstLayer }, training, threads: 1 });
      found.push((await engine.evaluate({ points, runs })).flatMap((row) => row.flatMap((output) => [...output])));
      await engine.close();
    }
    const [cut = [], whole = []] = found;
    expect(cut.length).toBe(whole.length);
    const apart = cut.reduce((worst, value, i) => Math.max(worst, Math.abs(value - whole[i]!)), 0);
    expect(apart).toBeLessThan(1e-4);
    // The points differ by far more than that.
    const third = cut.length / 3;
    const moved = cut.slice(third, 2 * third).reduce((most, value, i) => Math.max(most, Math.abs(value - cut[i]!)), 0);
    expect(moved).toBeGreaterThan(1e-2);
  });

  test("rows that are looked at again and again keep what the first blocks give: the same answers, and no second prefix", async () => {
    const training = trainerOf(model, resolveSettings({ method: kind, layers }, 1), 8);
    const treeAt = trainingTrees(
      model,
      templateTask(task),
      (await readRows(join(asset("quickstart"), "train.jsonl"))).slice(0, 70),
    );
    const trees = Array.from({ length: 70 }, (_, i) => treeAt(i));
    const engine = await openEngine(model, { method: training.method, training, threads: 1 });
    let computed = 0;
    const counting: typeof engine = {
      ...engine,
      prefetch(runs) {
        computed += runs.length;
        return engine.prefetch(runs);
      },
    };
    const answers = async (keptFrom?: number) => {
      const all: number[] = [];
      for await (const { output } of outputs(counting, model.family, trees, "auto", keptFrom)) all.push(...output);
      return all;
    };
    const whole = await answers();
    expect(computed).toBe(0);
    expect(await answers(8)).toEqual(whole);
    const once = computed;
    expect(once).toBeGreaterThan(1);
    expect(await answers(8)).toEqual(whole);
    expect(computed).toBe(once);
    await engine.close();
  });

  test("a cold cache gives the bits of a warm one: stopped in any epoch and gone on with", async () => {
    for (const stop of [2, 7]) {
      const again = fresh();
      const controller = new AbortController();
      const first = finetune(model, {
        ...small,
        method: methods[kind](layers),
        optimizer: optimizer(kind),
        out: again,
        signal: controller.signal,
      });
      const seen: number[] = [];
      for await (const event of first) {
        if (event.type !== "step") continue;
        seen.push(event.loss);
        if (event.step === stop) controller.abort();
      }
      seen.push(...(await run(methods[kind](layers), { out: again, resume: true })));
      expect(seen).toEqual(losses);
      expect(weights(again, kind)).toBe(weights(out, kind));
    }
  });

  test("a memory of nothing gives them too: the scratch file holds the states", async () => {
    const spilled = fresh();
    expect(await run(methods[kind](layers), { out: spilled, prefixCache: 0 })).toEqual(losses);
    expect(weights(spilled, kind)).toBe(weights(out, kind));
  });

  test("replay rebuilds its weights bit for bit", async () => {
    const again = fresh();
    await replay(model, { run: out, out: again, threads: 2 });
    expect(weights(again, kind)).toBe(weights(out, kind));
  });
});

test("blocks that the model does not have are refused before the folder is touched", async () => {
  for (const layers of [
    [4, 6],
    [3, 2],
  ] as const) {
    const out = fresh();
    await expect(run(full({ layers }), { out })).rejects.toMatchObject({
      name: "ZerothError",
      kind: "usage",
      message: expect.stringMatching(/--layers .*0\.\.5/),
    });
  }
});
