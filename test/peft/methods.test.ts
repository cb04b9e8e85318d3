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
import { type MethodName, methodNames } from "../../src/peft/methods.js";
import { openTiny, question, writeRows } from "./tiny-gpt2.js";

/* What every method of the table promises. A new one joins by a row here. */

interface Promised {
  readonly options: Readonly<Record<string, unknown>>;
  /** Untrained, it is the base model: bit for bit, or to rounding, or not at all. */
  readonly atFirst: "base" | "another";
  /** Another seed starts elsewhere. */
  readonly drawn: boolean;
  /** Why there is no merged model; absent where there is one. */
  readonly refuses?: RegExp;
}

const promises: Readonly<Record<MethodName, Promised>> = {
  lora: { options: { rank: 2, targets: "all-linear" }, atFirst: "base", drawn: true },
  full: { options: { train: "ln_|c_fc", layers: "1..2" }, atFirst: "base", drawn: false },
  bias: { options: {}, atFirst: "base", drawn: false },
  prefix: { options: { tokens: 3 }, atFirst: "another", drawn: true, refuses: /keys and values/ },
  prompt: { options: { tokens: 3 }, atFirst: "another", drawn: true, refuses: /before every row/ },
  sparse: { options: { density: 0.02 }, atFirst: "base", drawn: false },
  "tensor-train": {
    ...{ options: { rank: 2, bottleneck: 8 }, atFirst: "another", drawn: true },
    refuses: /nonlinearity/,
  },
};

const place = mkdtempSync(join(tmpdir(), "zeroth-methods-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));
let folders = 0;
const fresh = (): string => join(place, String(folders++));
const data = join(place, "rows.jsonl");

let model: Model;
beforeAll(async () => {
  model = await openTiny(join(place, "model"));
  writeRows(data);
});

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
  const { options, atFirst, drawn, refuses } = promises[name];
  const settingsOf = (more: Readonly<Record<string, unknown>> = {}): Settings =>
    resolveSettings({ method: name, optimizer: "mezo", seed: 3, ...options, ...more }, 1);

  test("starts as its seed says, and as the base where it says so", async () => {
    const base = await openEngine(model, { method: plain, threads: 1 });
    const [expected] = await logitsOf(base, model);
    await base.close();
    const found: string[] = [];
    for (const seed of [3, 3, 4]) {
      const opened = await open(settingsOf({ seed }));
      found.push(await opened.values());
      const [logits] = await logitsOf(opened.engine, opened.here);
      await opened.engine.close();
      const distance = apart(logits!, expected!);
      if (atFirst === "base") expect(distance).toBe(0);
      else expect(distance).toBeGreaterThan(1e-3);
    }
    expect(found[1]).toBe(found[0]);
    expect(found[2] !== found[0]).toBe(drawn);
  });

  test("several points in one run are those points one by one; saved and loaded it is the same, merged too", async () => {
    const settings = settingsOf();
    const opened = await open({ ...settings, runTokens: 4096 });
    const single = await open({ ...settings, runTokens: 0 });
    const key = { seed: 1n, stream: "noise", step: 0, query: 0 } as const;
    const points: Points = [[{ key, scale: 0.05 }], [], [{ key, scale: -0.05 }]];
    await stir(opened);
    await stir(single);
    const [together, separate] = [
      await logitsOf(opened.engine, opened.here, points),
      await logitsOf(single.engine, single.here, points),
    ];
    for (const [i, logits] of together.entries()) expect(apart(logits, separate[i]!)).toBeLessThan(1e-4);
    expect(apart(together[0]!, together[2]!)).toBeGreaterThan(1e-3);
    const [live] = await logitsOf(opened.engine, opened.here);

    const saved = fresh();
    await saverOf(model, settings)(opened.engine, saved);
    await opened.engine.close();
    await single.engine.close();
    const adapted = await openAdapted(model, { adapter: saved, threads: 1 });
    const [loaded] = await logitsOf(adapted.engine, adapted.model);
    await adapted.engine.close();
    expect(bits(loaded!)).toBe(bits(live!));

    const out = fresh();
    if (refuses !== undefined) {
      await expect(merge(model, { adapter: saved, out })).rejects.toThrow(refuses);
      return;
    }
    await merge(model, { adapter: saved, out });
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
    const file = name === "full" ? "model.safetensors" : "adapter_model.safetensors";
    return readFileSync(join(out, file)).toString("latin1");
  };

  test("a learning rate of 0 leaves it where it starts, another one does not", async () => {
    const start = await open(settingsOf());
    const saved = fresh();
    await saverOf(model, settingsOf())(start.engine, saved);
    await start.engine.close();
    const file = name === "full" ? "model.safetensors" : "adapter_model.safetensors";
    const still = await run(fresh(), { learningRate: 0, steps: 2 });
    // In place, walks there and back round.
    if (start.method.placement === "copies") expect(still).toBe(readFileSync(join(saved, file)).toString("latin1"));
    expect(await run(fresh(), { steps: 2 })).not.toBe(still);
  });

  test("stopped and gone on with it is the undisturbed run, and the journal alone gives it again", async () => {
    const [whole, parts, rebuilt] = [fresh(), fresh(), fresh()];
    const undisturbed = await run(whole, {});
    await run(parts, { stop: 2 });
    expect(await run(parts, { resume: true })).toBe(undisturbed);
    await replay(model, { run: whole, out: rebuilt, threads: 1 });
    const file = name === "full" ? "model.safetensors" : "adapter_model.safetensors";
    expect(readFileSync(join(rebuilt, file)).toString("latin1")).toBe(undisturbed);
  });
});
