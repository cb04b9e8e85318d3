import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { headFor, packs } from "../src/batch/pack.js";
import { chooseTask } from "../src/data/choose.js";
import { previewTree } from "../src/data/preview.js";
import { dataFile, readRows } from "../src/data/rows.js";
import { splitRows } from "../src/data/split.js";
import type { TextExample } from "../src/data/task.js";
import { namedTask } from "../src/data/tasks.js";
import { treeBuilder } from "../src/data/tokenize.js";
import { openModel } from "../src/model/open.js";

const shared = process.env.ZEROTH_SHARED ?? resolve(fileURLToPath(new URL("../../shared", import.meta.url)));
const missing = !existsSync(join(shared, "data"));
if (missing) console.warn(`Skipped: no test data at ${shared}. Set ZEROTH_SHARED.`);

const examplesOf = async (task: string, split: "train" | "validation"): Promise<readonly TextExample[]> => {
  const { example } = namedTask(task);
  const rows = await readRows(await dataFile(join(shared, "data", task), split));
  return rows.map((row) => example(row)).filter((made) => made.kind === "text");
};

describe.skipIf(missing)("public data sets", () => {
  // Rows and majority class of the validation files as the literature gives them: a label read wrongly shows here.
  it.each([
    ["sst2", 872, 444],
    ["rte", 277, 146],
    ["cb", 56, 28],
    ["copa", 100, 55],
  ])("%s: every row of both files is read, labels as published", async (task, rows, majority) => {
    const examples = await examplesOf(task, "validation");
    expect(examples).toHaveLength(rows);
    const counts = new Map<number, number>();
    for (const { label } of examples) counts.set(label, (counts.get(label) ?? 0) + 1);
    expect(Math.max(...counts.values())).toBe(majority);
    expect((await examplesOf(task, "train")).length).toBeGreaterThan(0);
  });

  it.each(["boolq", "winogrande"])("%s: every row of both files is read", async (task) => {
    for (const split of ["train", "validation"] as const) {
      const examples = await examplesOf(task, split);
      expect(examples.length).toBeGreaterThan(100);
      expect(new Set(examples.map(({ label }) => label))).toEqual(new Set([0, 1]));
    }
  });

  it("CB's training file is split as MeZO's script splits it", async () => {
    const { length } = await examplesOf("cb", "train");
    const { train, dev } = splitRows(length, { trainRows: 1000, devRows: 100, seed: 0n });
    expect([length, train.length, dev.length]).toEqual([250, 150, 100]);
  });
});

describe.skipIf(missing)("SmolLM2's tokens", async () => {
  if (missing) return;
  const { tokenizer } = await openModel(join(shared, "models", "smollm2-135m-instruct"));
  const build = treeBuilder(tokenizer, 8192);

  it.each([
    ["sst2", "columns"],
    ["rte", "columns"],
    ["cb", "columns"],
    ["boolq", "columns"],
    ["copa", "tokens"],
    ["winogrande", "tokens"],
  ])("%s: the paths are the texts, the scored tokens the options", async (task, head) => {
    const examples = (await examplesOf(task, "validation")).slice(0, 100);
    const trees = examples.map(build);
    expect(headFor(trees)).toBe(head);
    trees.forEach((tree, i) => {
      const { prompt, options } = examples[i] as TextExample;
      tree.branches.forEach(({ ids, scored }, b) => {
        const path = [...tree.shared, ...ids];
        expect(tokenizer.decode(path)).toBe((prompt + options[b]).replace(/^ +| +$/g, ""));
        const candidate = scored.map((position) => path[position] ?? -1);
        expect(tokenizer.decode(candidate).trim()).toBe(options[b]?.trim());
      });
    });
  });

  it("16 rows of SST-2 are one pack of some two hundred tokens, an own template's as a named task's", async () => {
    const own = chooseTask({ prompt: "{sentence} It was", options: " terrible, great" });
    const rows = (await readRows(join(shared, "data", "sst2", "train.jsonl"))).slice(0, 16);
    const trees = rows.map((row) => build(own.example(row)));
    expect(trees).toEqual(rows.map((row) => build(namedTask("sst2").example(row))));
    const made = packs(trees);
    expect(made).toHaveLength(1);
    expect(made[0]?.ids.length).toBeGreaterThan(100);
    expect(made[0]?.columns).toHaveLength(2);
  });

  it("chat: the assistant's words and end of turn are scored, nothing else", () => {
    const turns = [
      ["user", "Hi"],
      ["assistant", "Hello!"],
      ["user", "2+2?"],
      ["assistant", "4"],
    ];
    const messages = turns.map(([role, content]) => ({ role, content }));
    const tree = build(chooseTask({ format: "chat" }).example({ fields: { messages }, file: "chat.jsonl", line: 1 }));
    const path = [...tree.shared, ...(tree.branches[0]?.ids ?? [])];
    const scored = tree.branches[0]?.scored.map((position) => tokenizer.token(path[position] ?? -1));
    expect(scored).toEqual(["Hello", "!", "<|im_end|>", "4", "<|im_end|>"]);
    expect(previewTree(tree, tokenizer, { title: "chat" })).toContain("[4]|[<|im_end|>]|⏎");
  });
});
