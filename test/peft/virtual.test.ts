import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { fitted, openAdapted, openEngine, plain } from "../../src/api/engines.js";
import { examplesOf } from "../../src/api/examples.js";
import type { Model } from "../../src/api/load.js";
import { saverOf, trainerOf } from "../../src/api/prepare.js";
import { resolveSettings } from "../../src/api/settings.js";
import { makeStart } from "../../src/api/start.js";
import { packs } from "../../src/batch/pack.js";
import { readRows } from "../../src/data/rows.js";
import { templateTask } from "../../src/data/template.js";
import type { TokenTree } from "../../src/data/tree.js";
import type { Engine } from "../../src/engine/engine.js";
import { runOf } from "../../src/engine/feeds.js";
import { openTiny, question, writeRows } from "./tiny-gpt2.js";

/* Virtual tokens that start as real ones do what those do: the definitions of prefix and prompt tuning. */

const place = mkdtempSync(join(tmpdir(), "zeroth-virtual-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));
let model: Model;
beforeAll(async () => {
  model = await openTiny(join(place, "model"));
  writeRows(join(place, "rows.jsonl"));
});

const treesOf = async (here: Model): Promise<readonly TokenTree[]> =>
  examplesOf(here, templateTask(question), await readRows(join(place, "rows.jsonl"))).trees;
const lossesOf = async (engine: Engine, here: Model, trees: readonly TokenTree[]): Promise<readonly number[]> => {
  const [outputs = []] = await engine.evaluate({
    points: [[]],
    runs: packs(trees, { head: "tokens" }).map((pack) => runOf(here.family, pack)),
  });
  await engine.close();
  return outputs.flatMap((output) => [...output]);
};
const apart = (a: readonly number[], b: readonly number[]): number => {
  expect(a.length).toBe(b.length);
  return a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i]!)), 0);
};

/** What the model itself makes of the rows behind some tokens. */
const behind = async (ids: readonly number[]): Promise<readonly number[]> => {
  const trees = (await treesOf(model)).map((tree) => ({
    ...tree,
    shared: [...ids, ...tree.shared],
    branches: tree.branches.map((branch) => ({ ...branch, scored: branch.scored.map((at) => at + ids.length) })),
  }));
  return lossesOf(await openEngine(model, { method: plain, threads: 1 }), model, trees);
};

const opened = async (options: Readonly<Record<string, unknown>>) => {
  const settings = resolveSettings({ optimizer: "mezo", seed: 5, ...options }, 1);
  const trainer = trainerOf(model, settings, 6);
  const { method } = trainer;
  const here = fitted(model, method);
  const start = await makeStart(model, method, join(place, `${JSON.stringify(options).length}.safetensors`), {
    threads: 1,
  });
  const engine = await openEngine(here, { method, training: trainer, adapter: start?.tensors, seed: 5n, threads: 1 });
  return { settings, method, here, engine };
};

test("a prefix of some tokens' keys and values is those tokens before every row", { timeout: 60_000 }, async () => {
  const { engine, method, here } = await opened({ method: "prefix", tokens: 4 });
  const found = await lossesOf(engine, here, await treesOf(here));
  const ids = method.start?.ids ?? [];
  expect(ids).toHaveLength(4);
  expect(apart(found, await behind(ids))).toBeLessThan(1e-4);
  expect(apart(found, await behind([]))).toBeGreaterThan(1e-3);
});

test("positions from zero are others, and an adapter remembers them", { timeout: 60_000 }, async () => {
  const { engine, method, here, settings } = await opened({ method: "prefix", tokens: 4, positions: "zero" });
  const saved = join(place, "zero");
  await saverOf(model, settings)(engine, saved);
  const found = await lossesOf(engine, here, await treesOf(here));
  expect(apart(found, await behind(method.start?.ids ?? []))).toBeGreaterThan(1e-3);
  const adapted = await openAdapted(model, { adapter: saved, threads: 1 });
  expect(apart(await lossesOf(adapted.engine, adapted.model, await treesOf(adapted.model)), found)).toBe(0);
  const config = JSON.parse(readFileSync(join(saved, "adapter_config.json"), "utf8"));
  expect([config.peft_type, config.num_virtual_tokens, config.token_dim, config.num_layers]).toEqual([
    ...["PREFIX_TUNING", 4, 32, 3],
  ]);
});

test("a prompt that starts as a text is that text before every row", { timeout: 60_000 }, async () => {
  const { engine, here } = await opened({ method: "prompt", tokens: 3, initText: "hello hell" });
  const found = await lossesOf(engine, here, await treesOf(here));
  const ids = model.files.tokenizer.encode("hello hell");
  const three = Array.from({ length: 3 }, (_, i) => ids[i % ids.length]!);
  expect(apart(found, await behind(three))).toBeLessThan(1e-4);
});
