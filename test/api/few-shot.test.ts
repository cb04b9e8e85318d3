import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { checkOptions } from "../../src/api/check.js";
import { doctor } from "../../src/api/doctor.js";
import { finetune } from "../../src/api/finetune.js";
import { load, type Model } from "../../src/api/load.js";
import { preview } from "../../src/api/preview.js";
import type { FinetuneOptions, TrainEvent } from "../../src/api/types.js";
import { readJournal } from "../../src/train/journal.js";
import { runPaths } from "../../src/train/run-folder.js";
import { asset, scratch, task } from "../seedling.js";

/* As many rows of every class: the protocol of the few-shot papers, on the model that ships with Zeroth. */

const { place, fresh } = scratch("few-shot");

let model: Model;
beforeAll(async () => {
  model = await load(asset("seedling"));
});
const small = { ...task, threads: 1, noiseCheck: false, steps: 2, batchSize: 4 } as const;

const eventsOf = async (options: FinetuneOptions): Promise<readonly TrainEvent[]> => {
  const events: TrainEvent[] = [];
  for await (const event of finetune(model, options)) events.push(event);
  return events;
};

test("a run takes k rows of every class and k again, by the data seed, and says so in its journal", async () => {
  const lossOf = async (options: Partial<FinetuneOptions>): Promise<number | undefined> => {
    const events = await eventsOf({ ...small, perClass: 5, out: fresh(), ...options });
    expect(events[0]).toMatchObject({ type: "start", trainRows: 10, devRows: 10 });
    return events.find((event) => event.type === "step")?.loss;
  };
  const out = fresh();
  const loss = await lossOf({ out });
  expect(await lossOf({})).toBe(loss);
  expect(await lossOf({ dataSeed: 13 })).not.toBe(loss);
  expect(readJournal(runPaths(out).journal).header).toMatchObject({ trainRows: 10, options: { perClass: 5 } });
});

test("the doctor looks at the same rows, and preview shows the first of them", async () => {
  const report = await doctor(model, { ...small, perClass: 5, probe: false });
  // Ten training rows: one epoch is three steps of four rows.
  expect(report.packing.rows).toBe(8);
  const shown = await preview(model, { ...task, perClass: 5, limit: 2, dataSeed: 13 });
  expect(shown).toMatch(/^10 training rows and 10 dev rows: 5 of each class\n\ntemplate, line \d+ /);
  expect(shown.match(/template, line/g)).toHaveLength(2);
  expect(shown).not.toBe(await preview(model, { ...task, perClass: 5, limit: 2 }));
});

test("too few rows, other counts of rows, and rows of no class are refused", async () => {
  const data = join(place, "few.jsonl");
  const labels = ["sad", "sad", "sad", "happy", "sad", "happy"];
  writeFileSync(data, labels.map((label) => JSON.stringify({ text: "a", name: "b", label })).join("\n"));
  await expect(eventsOf({ ...small, data, perClass: 2, out: fresh() })).rejects.toThrow(
    "--per-class 2 takes 4 rows of every class, half of them dev rows, and the file has: sad 4, happy 2.",
  );
  expect(() => checkOptions({ ...small, perClass: 2, trainRows: 4 })).toThrow(/--per-class: .*leave out --train-rows/);
  expect(() => checkOptions({ ...small, perClass: 2, devRows: 4 })).toThrow("--dev-rows");
  expect(() => checkOptions({ data, format: "completion", perClass: 2 })).toThrow("completion rows are of no class");
  expect(() => checkOptions({ ...small, perClass: 0 })).toThrow("--per-class");
});
