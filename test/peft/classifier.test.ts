import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openAdapted, openEngine } from "../../src/api/engines.js";
import { exportModel } from "../../src/api/export.js";
import { load, type Model } from "../../src/api/load.js";
import { merge } from "../../src/api/merge.js";
import { saverOf, trainerOf } from "../../src/api/prepare.js";
import { resolveSettings } from "../../src/api/settings.js";
import { packs } from "../../src/batch/pack.js";
import type { Engine } from "../../src/engine/engine.js";
import { runOf } from "../../src/engine/feeds.js";
import { lora } from "../../src/peft/lora.js";
import { type EncoderKind, writeEncoder } from "../model/families/encoders.js";

/* A classifier's own layers are trained beside its LoRA adapter, and are in its folder as PEFT has them. */

const place = mkdtempSync(join(tmpdir(), "zeroth-classifier-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));
let folders = 0;
const fresh = (): string => join(place, String(folders++));

const CLASSES = 3;
type Points = Parameters<Engine["evaluate"]>[0]["points"];

/** Logits of some rows at each point, by a head. */
const logitsOf = async (
  engine: Engine,
  { family }: Model,
  points: Points = [[]],
  head: "columns" | "tokens" = "tokens",
) => {
  const rows = [
    [0, 7, 8, 9, 2],
    [0, 6, 2],
    [0, 9, 9, 7, 6, 2],
  ];
  // Every class is an option; all of them are read at one place.
  const options = Array.from({ length: head === "columns" ? CLASSES : 1 }, (_, id) => id);
  const branches = options.map((id) => ({ ids: [id], scored: [] }));
  const trees = rows.map((shared) => ({ shared, at: 0, branches, label: 0, line: 1, truncated: 0 }));
  const runs = packs(trees, { head }).map((pack) => {
    const run = runOf(family, pack);
    if (head === "columns") return run;
    const { targets: _, ...feeds } = run.feeds;
    return { graph: "logits", feeds };
  });
  const outputs = await engine.evaluate({ points, runs });
  return outputs.map((row) => row.flatMap((output) => [...output]));
};
const apart = (a: readonly number[] = [], b: readonly number[] = []): number => {
  expect(a.length).toBe(b.length);
  expect(a.length).toBeGreaterThan(0);
  return a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - (b[i] ?? Number.NaN))), 0);
};

const own = {
  bert: ["classifier.weight", "classifier.bias"],
  roberta: ["dense.weight", "dense.bias", "out_proj.weight", "out_proj.bias"].map((name) => `classifier.${name}`),
} as const;

describe.each(["bert", "roberta"] as const)("%s", (kind: EncoderKind) => {
  let model: Model;
  beforeAll(async () => {
    const folder = fresh();
    await writeEncoder(folder, kind, { words: ["a", "b", "good", "bad"], classes: CLASSES });
    model = await load(folder);
  });
  const base = () => ({ files: model.files, family: model.family });

  test("its layers are trained with LoRA, unless they are frozen; no side path goes beside them", () => {
    const names = (options: object) =>
      lora.bind(base(), { targets: "all-linear", ...options }, 0n).tensors.map(({ name }) => name);
    const trained = names({});
    expect(trained.filter((name) => !name.includes(".lora_"))).toEqual(
      own[kind].map((name) => `base_model.model.${name}`).sort((a, b) => trained.indexOf(a) - trained.indexOf(b)),
    );
    expect(trained.filter((name) => name.includes("classifier") && name.includes(".lora_"))).toEqual([]);
    expect(names({ freezeClassifier: true }).every((name) => name.includes(".lora_"))).toBe(true);
  });

  test("points in one run are those points one by one; saved, loaded, merged and exported it is the same", async () => {
    const settings = resolveSettings({ method: "lora", rank: 2, seed: 3, runTokens: 4096 }, 1);
    const trainer = trainerOf(model, settings, 6);
    const { method } = trainer;
    const engine = await openEngine(model, { method, training: trainer, seed: 3n, threads: 1, runTokens: 4096 });
    const [untouched] = await logitsOf(engine, model);
    const plain = await openAdapted(model, { threads: 1 });
    expect(apart(untouched, (await logitsOf(plain.engine, model))[0])).toBeLessThan(1e-6);
    await plain.engine.close();

    for (const { name } of method.tensors) {
      const values = await engine.read({ name, start: 0, count: 2 ** 30 });
      await engine.write({ name, start: 0, data: values.map((value, i) => value + 0.05 * Math.sin(i * i + 1)) });
    }
    const key = { seed: 1n, stream: "noise", step: 0, query: 0 } as const;
    const points: Points = [[{ key, scale: 0.05 }], [], [{ key, scale: -0.05 }]];
    const together = await logitsOf(engine, model, points);
    for (const [i, point] of points.entries())
      expect(apart(together[i], (await logitsOf(engine, model, [point]))[0])).toBeLessThan(1e-5);
    expect(apart(together[0], together[2])).toBeGreaterThan(1e-3);
    // What training reads of the classes.
    expect(apart((await logitsOf(engine, model, points, "columns"))[2], together[2])).toBeLessThan(1e-5);
    const [live] = await logitsOf(engine, model);
    const folder = fresh();
    await saverOf(model, settings)(engine, folder);
    await engine.close();

    const config = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"));
    expect(config).toMatchObject({
      modules_to_save: ["classifier"],
      task_type: "SEQ_CLS",
      target_modules: ["query", "value"],
    });
    const [merged, exported] = [fresh(), fresh()];
    await merge(model, { adapter: folder, out: merged });
    await exportModel(model, { format: "peft", adapter: folder, out: exported });
    for (const [of, adapter] of [
      [model, folder],
      [model, exported],
      [await load(merged), undefined],
    ] as const) {
      const again = await openAdapted(of, { adapter, threads: 1 });
      expect(apart((await logitsOf(again.engine, again.model))[0], live)).toBeLessThan(1e-5);
      await again.engine.close();
    }
    expect(apart(live, untouched)).toBeGreaterThan(1e-3);
  });
});
