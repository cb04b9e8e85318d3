// Times steps against evaluation forwards of the same graph over the same packs, interleaved, in one process.
//   node bench/step.mjs MODEL ROWS [--method lora|full] [--perturbation gaussian|rademacher] [--queries Q] [--layers A..B] [--warm]
// Prints one JSON object: medians in seconds. With --warm the hidden states before the first trained block are kept already; without
// it they are computed with every step, as in a first epoch.
import { parseArgs } from "node:util";
import { openEngine } from "../dist/api/engines.js";
import { trainingTrees } from "../dist/api/examples.js";
import { rowPacks } from "../dist/api/prefetch.js";
import { trainerOf } from "../dist/api/prepare.js";
import { resolveSettings } from "../dist/api/settings.js";
import { packs } from "../dist/batch/pack.js";
import { chooseTask } from "../dist/data/choose.js";
import { readRows } from "../dist/data/rows.js";
import { runOf } from "../dist/engine/feeds.js";
import { load } from "../dist/index.js";
import { lossOf } from "../dist/objective/objective.js";
import { objectives } from "../dist/objective/objectives.js";
import { driving, takeStep } from "../dist/train/step.js";
import { median } from "./setup.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    method: { type: "string", default: "lora" },
    perturbation: { type: "string", default: "gaussian" },
    queries: { type: "string", default: "1" },
    layers: { type: "string" },
    warm: { type: "boolean", default: false },
    "run-tokens": { type: "string" },
    repeats: { type: "string", default: "7" },
    threads: { type: "string", default: "2" },
  },
});
const [modelFolder, rowsPath] = positionals;
const { method: kind, perturbation } = values;
const [queries, repeats, threads] = [values.queries, values.repeats, values.threads].map(Number);
/** Steps timed together: what an in-place step leaves for the next one to do is paid within the block but once. */
const BLOCK = 4;

const model = await load(modelFolder);
const layers = values.layers === undefined ? {} : { layers: values.layers.split("..").map(Number) };
const runTokens = values["run-tokens"] === undefined ? {} : { runTokens: Number(values["run-tokens"]) };
const settings = resolveSettings(
  { task: "sst2", method: kind, perturbation, queries, learningRate: 1e-6, ...layers, ...runTokens },
  threads,
);
const rows = await readRows(rowsPath);
const training = trainerOf(model, settings, rows.length);
const { method, stepper } = training;
const treeAt = trainingTrees(model, chooseTask({ task: "sst2" }), rows);
const batch = packs(rows.map((_, i) => treeAt(i)));
const numbers = rows.map((_, i) => i);
const runs = rowPacks(batch, numbers).map(({ pack, rows: own }) =>
  runOf(model.family, pack, values.warm ? own : undefined),
);
const tokens = batch.reduce((sum, pack) => sum + pack.ids.length, 0);
// As a run has it: points side by side.
const engine = await openEngine(model, { method, training, threads, runTokens: settings.runTokens });
if (values.warm) await engine.prefetch(runs);

const seconds = async (work) => {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
};
const forwards = () => engine.evaluate({ points: [[], []], runs });
let count = 0;
const driver = driving(engine, async (points) =>
  (await engine.evaluate({ points, runs })).map((outputs) => lossOf(objectives.classification, batch, outputs)),
);
const step = () => takeStep(stepper, count++, settings.learningRate, driver);
const block = async () => {
  for (let i = 0; i < BLOCK; i++) await step();
  // Everything that the steps left pending counts.
  await engine.replay([]);
};

await block();
await forwards();
const pairs = [];
for (let i = 0; i < repeats; i++) {
  const two = [await seconds(forwards)];
  const taken = (await seconds(block)) / BLOCK;
  two.push(await seconds(forwards));
  pairs.push({ two: (two[0] + two[1]) / 2, step: taken });
}
await engine.close();
const result = {
  ...{ method: kind, perturbation, queries, layers: values.layers ?? null, warm: values.warm, tokens },
  secondsPerStep: median(pairs.map(({ step: taken }) => taken)),
  secondsPerTwoForwards: median(pairs.map(({ two }) => two)),
  ratio: median(pairs.map(({ step: taken, two }) => taken / two)),
};
console.log(JSON.stringify(result));
