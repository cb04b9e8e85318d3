import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { method as choose } from "../../src/api/choices.js";
import { fitted, openAdapted, openEngine, plain } from "../../src/api/engines.js";
import { examplesOf } from "../../src/api/examples.js";
import { finetune } from "../../src/api/finetune.js";
import { load, type Model } from "../../src/api/load.js";
import { merge } from "../../src/api/merge.js";
import { saverOf, trainerOf } from "../../src/api/prepare.js";
import { replay } from "../../src/api/replay.js";
import { resolveSettings, type Settings } from "../../src/api/settings.js";
import { makeStart } from "../../src/api/start.js";
import type { MethodChoice } from "../../src/api/types.js";
import { packs } from "../../src/batch/pack.js";
import { readRows } from "../../src/data/rows.js";
import { templateTask } from "../../src/data/template.js";
import type { Engine } from "../../src/engine/engine.js";
import { runOf } from "../../src/engine/feeds.js";
import { residentsOf } from "../../src/engine/residents.js";
import { type MethodName, methodNames } from "../../src/peft/methods.js";
import { openTiny, question, writeRows } from "./tiny-gpt2.js";

/* What every method of the table promises. A new one joins by a row here. */

interface Promised {
  readonly options: Readonly<Record<string, unknown>>;
  /** Untrained, it is the base model bit for bit, but for rounding, or another. */
  readonly atFirst: "base" | "near" | "another";
  /** Another seed starts elsewhere. */
  readonly drawn: boolean;
  /** Points of a step are run side by side. */
  readonly together: boolean;
  /** Why there is no merged model; absent where there is one. */
  readonly refuses?: RegExp;
}

const promises: Readonly<Record<MethodName, Promised>> = {
  lora: { options: { rank: 2, targets: "all-linear" }, atFirst: "base", drawn: true, together: true },
  full: { options: { train: "ln_|c_fc", layers: "1..2" }, atFirst: "base", drawn: false, together: false },
  // A norm adds its bias in one rounding with the scale; each point's own is added behind it.
  bias: { options: {}, atFirst: "near", drawn: false, together: true },
  prefix: { options: { tokens: 3 }, atFirst: "another", drawn: true, together: true, refuses: /keys and values/ },
  prompt: { options: { tokens: 3 }, atFirst: "another", drawn: true, together: true, refuses: /before every row/ },
  sparse: { options: { density: 0.02 }, atFirst: "base", drawn: false, together: true },
  "tensor-train": {
    ...{ options: { rank: 2, bottleneck: 8 }, atFirst: "another", drawn: true, together: true },
    refuses: /nonlinearity/,
  },
};

const place = mkdtempSync(join(tmpdir(), "zeroth-methods-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));
let folders = 0;
const fresh = (): string => join(place, String(folders++));
const data = join(place, "rows.jsonl");

let model: Model;
/** Logits of the model alone. */
let base: Float32Array;
beforeAll(async () => {
  model = await openTiny(join(place, "model"));
  writeRows(data);
  const engine = await openEngine(model, { method: plain, threads: 1 });
  [base = new Float32Array()] = await logitsOf(engine, model);
  await engine.close();
}, 60_000);

/** Every logit of the rows at each point, [points], as rows meet the model with a set. */
const logitsOf = async (engine: Engine, fitted: Model, points: Points = [[]]) => {
  const rows = await readRows(data);
  const { trees } = examplesOf(fitted, templateTask(question), rows);
  const runs = packs(trees, { head: "tokens" }).map((pack) => {
    const { targets: _, ...feeds } = runOf(fitted.family, pack).feeds;
    return { graph: "logits", feeds };
  });
  const outputs = await engine.evaluate({ points, runs });
  return outputs.map((row) => Float32Array.from(row.flatMap((output) => [...output])));
};
type Points = Parameters<Engine["evaluate"]>[0]["points"];
const bits = (values: Float32Array): string => Buffer.from(values.slice().buffer).toString("latin1");
const apart = (a: Float32Array, b: Float32Array): number => {
  expect(a.length).toBe(b.length);
  return a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i]!)), 0);
};

const open = async (settings: Settings) => {
  const trainer = trainerOf(model, settings, 6);
  const { method } = trainer;
  const start = await makeStart(model, method, join(fresh(), "start.safetensors"), { threads: 1 });
  const here = fitted(model, method);
  const { runTokens } = settings;
  const engine = await openEngine(here, {
    ...{ method, training: trainer, adapter: start?.tensors, seed: BigInt(settings.seed), threads: 1, runTokens },
  });
  const values = async (): Promise<string> => {
    const parts: string[] = [];
    for (const { name } of [...method.tensors, ...(method.frozen ?? [])])
      parts.push(bits(await engine.read({ name, start: 0, count: 2 ** 30 })));
    return parts.join();
  };
  return { engine, method, here, values };
};
/** Moves every trained element a little, each by another amount. */
const stir = async ({ engine, method }: Awaited<ReturnType<typeof open>>): Promise<void> => {
  for (const { name } of method.tensors) {
    const values = await engine.read({ name, start: 0, count: 2 ** 30 });
    await engine.write({ name, start: 0, data: values.map((value, i) => value + 0.05 * Math.sin(i * i + 1)) });
  }
};

test("every method of the table is promised something", () => {
  expect(Object.keys(promises)).toEqual(methodNames);
});

describe.each(methodNames)("%s", { timeout: 120_000 }, (name) => {
  const { options, atFirst, drawn, together: isTogether, refuses } = promises[name];
  const settingsOf = (more: Readonly<Record<string, unknown>> = {}): Settings =>
    resolveSettings({ method: name, optimizer: "mezo", seed: 3, ...options, ...more }, 1);

  const file = name === "full" ? "model.safetensors" : "adapter_model.safetensors";
  const saved = async (settings: Settings, engine: Engine): Promise<{ folder: string; bytes: string }> => {
    const folder = fresh();
    await saverOf(model, settings)(engine, folder);
    return { folder, bytes: readFileSync(join(folder, file)).toString("latin1") };
  };
  /** Of seed 3, before any step. */
  let untrained = { values: "", bytes: "" };

  test("starts as its seed says, and as the base where it says so", async () => {
    for (const seed of [3, 4]) {
      const settings = settingsOf({ seed });
      const { engine, here, values } = await open(settings);
      const found = await values();
      const [logits] = await logitsOf(engine, here);
      if (seed === 3) untrained = { values: found, bytes: (await saved(settings, engine)).bytes };
      else expect(found !== untrained.values).toBe(drawn);
      await engine.close();
      const distance = apart(logits!, base);
      if (atFirst === "base") expect(distance).toBe(0);
      else if (atFirst === "near") expect(distance).toBeLessThan(1e-5);
      else expect(distance).toBeGreaterThan(1e-3);
    }
  });

  test("several points in one run are those points one by one; saved and loaded it is the same, merged too", async () => {
    const settings = settingsOf({ runTokens: 4096 });
    const opened = await open(settings);
    const { engine, method, here } = opened;
    expect(await opened.values()).toBe(untrained.values);
    const { residentOf } = residentsOf({ weights: model.files.weights, method, seed: 3n });
    for (const tensor of method.tensors) expect(residentOf(tensor).several).toBe(isTogether);
    const key = { seed: 1n, stream: "noise", step: 0, query: 0 } as const;
    const points: Points = [[{ key, scale: 0.05 }], [], [{ key, scale: -0.05 }]];
    await stir(opened);
    const together = await logitsOf(engine, here, points);
    for (const [i, point] of points.entries())
      expect(apart(together[i]!, (await logitsOf(engine, here, [point]))[0]!)).toBeLessThan(1e-4);
    expect(apart(together[0]!, together[2]!)).toBeGreaterThan(1e-3);
    const [live] = await logitsOf(engine, here);

    const { folder } = await saved(settings, engine);
    await engine.close();
    const adapted = await openAdapted(model, { adapter: folder, threads: 1 });
    const [loaded] = await logitsOf(adapted.engine, adapted.model);
    await adapted.engine.close();
    expect(bits(loaded!)).toBe(bits(live!));

    const out = fresh();
    if (refuses !== undefined) {
      await expect(merge(model, { adapter: folder, out })).rejects.toThrow(refuses);
      return;
    }
    await merge(model, { adapter: folder, out });
    const merged = await openAdapted(await load(out), { threads: 1 });
    const [whole] = await logitsOf(merged.engine, merged.model);
    await merged.engine.close();
    expect(apart(whole!, live!)).toBeLessThan(1e-4);
  });

  const run = async (out: string, more: { learningRate?: number; steps?: number; resume?: boolean; stop?: number }) => {
    const { stop, learningRate = 0.01, ...rest } = more;
    const aborting = new AbortController();
    const events = finetune(model, {
      ...{ data, ...question, out, threads: 1, batchSize: 4, devRows: 0, noiseCheck: false, steps: 4, seed: 3 },
      method: choose(name, options as Omit<MethodChoice, "kind">),
      optimizer: { name: "mezo", learningRate, epsilon: 0.01 },
      ...{ ...rest, signal: aborting.signal },
    });
    for await (const event of events) if (event.type === "step" && event.step === stop) aborting.abort();
    return readFileSync(join(out, file)).toString("latin1");
  };

  test("a learning rate of 0 leaves it where it starts", async () => {
    const still = await run(fresh(), { learningRate: 0, steps: 2 });
    // In place, walks there and back round.
    if (name === "full") expect(still.length).toBe(untrained.bytes.length);
    else expect(still).toBe(untrained.bytes);
  });

  test("stopped and gone on with it is the undisturbed run, and the journal alone gives it again", async () => {
    const [whole, parts, rebuilt] = [fresh(), fresh(), fresh()];
    const undisturbed = await run(whole, {});
    expect(undisturbed).not.toBe(untrained.bytes);
    await run(parts, { stop: 2 });
    expect(await run(parts, { resume: true })).toBe(undisturbed);
    await replay(model, { run: whole, out: rebuilt, threads: 1 });
    expect(readFileSync(join(rebuilt, file)).toString("latin1")).toBe(undisturbed);
  });
});
