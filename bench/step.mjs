// Times steps against evaluation forwards of the same graph over the same packs, interleaved, in one process.
//   node bench/step.mjs MODEL ROWS [--method lora|full] [--perturbation gaussian|rademacher] [--queries Q] [--layers A..B] [--warm]
//     [--run-tokens N] [--against 'JSON of such options']
// Prints one JSON object: medians in seconds, and the ratio of a step to two forwards; or to a step of the other kind, taken in turn with it.
// With --warm the hidden states before the first trained block are kept already; without it they are computed with every step, as in a first epoch.
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

const kind = {
  method: { type: "string", default: "lora" },
  perturbation: { type: "string", default: "gaussian" },
  queries: { type: "string", default: "1" },
  layers: { type: "string" },
  warm: { type: "boolean", default: false },
  "run-tokens": { type: "string" },
};
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    ...kind,
    against: { type: "string" },
    repeats: { type: "string", default: "7" },
    threads: { type: "string", default: "2" },
  },
});
const [modelFolder, rowsPath] = positionals;
const [repeats, threads] = [values.repeats, values.threads].map(Number);
/** Steps timed together: what an in-place step leaves for the next one to do is paid within the block but once. */
const BLOCK = 4;

const model = await load(modelFolder);
const rows = await readRows(rowsPath);
const numbers = rows.map((_, i) => i);
const batch = packs(numbers.map(trainingTrees(model, chooseTask({ task: "sst2" }), rows)));
const seconds = async (work) => {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
};

/** Steps of a kind, and two forwards of their graph. */
const open = async ({ method: name, perturbation, warm, ...given }) => {
  const layers = given.layers === undefined ? {} : { layers: given.layers.split("..").map(Number) };
  const runTokens = given["run-tokens"] === undefined ? {} : { runTokens: Number(given["run-tokens"]) };
  const settings = resolveSettings(
    {
      ...{ task: "sst2", method: name, perturbation, queries: Number(given.queries), learningRate: 1e-6 },
      ...{ ...layers, ...runTokens },
    },
    threads,
  );
  const training = trainerOf(model, settings, rows.length);
  const { method, stepper } = training;
  const runs = rowPacks(batch, numbers).map(({ pack, rows: own }) => runOf(model.family, pack, warm ? own : undefined));
  // As a run has it: points side by side.
  const engine = await openEngine(model, { method, training, threads, runTokens: settings.runTokens });
  if (warm) await engine.prefetch(runs);
  const driver = driving(engine, async (points) =>
    (await engine.evaluate({ points, runs })).map((outputs) => lossOf(objectives.classification, batch, outputs)),
  );
  let count = 0;
  return {
    forwards: () => seconds(() => engine.evaluate({ points: [[], []], runs })),
    async step() {
      const block = await seconds(async () => {
        for (let i = 0; i < BLOCK; i++) await takeStep(stepper, count++, settings.learningRate, driver);
        // Everything that the steps left pending counts.
        await engine.replay([]);
      });
      return block / BLOCK;
    },
    close: () => engine.close(),
  };
};

const defaults = Object.fromEntries(Object.entries(kind).map(([name, option]) => [name, option.default]));
const steps = await open(values);
const other = values.against === undefined ? undefined : await open({ ...defaults, ...JSON.parse(values.against) });
/** What steps are held against: forwards before and after them, or the other steps. */
const measure = other?.step ?? steps.forwards;
await steps.step();
await measure();
const pairs = [];
for (let i = 0; i < repeats; i++) {
  const before = await measure();
  const step = await steps.step();
  pairs.push({ step, against: (before + (await measure())) / 2 });
}
await steps.close();
await other?.close();
const against = median(pairs.map((pair) => pair.against));
console.log(
  JSON.stringify({
    ...Object.fromEntries(Object.keys(kind).map((name) => [name, values[name] ?? null])),
    tokens: batch.reduce((sum, pack) => sum + pack.ids.length, 0),
    secondsPerStep: median(pairs.map(({ step }) => step)),
    ...(other === undefined ? { secondsPerTwoForwards: against } : { secondsPerOtherStep: against }),
    ratio: median(pairs.map(({ step, against: with_ }) => step / with_)),
  }),
);
