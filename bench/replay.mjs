// Full-parameter steps that a replay applies a minute: `node bench/replay.mjs MODEL [--perturbation gaussian|rademacher]`. Prints one JSON object.
import { parseArgs } from "node:util";
import { openEngine } from "../dist/api/engines.js";
import { trainerOf } from "../dist/api/prepare.js";
import { resolveSettings } from "../dist/api/settings.js";
import { load } from "../dist/index.js";
import { movesOf, takeStep } from "../dist/train/step.js";
import { median } from "./setup.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    perturbation: { type: "string", default: "rademacher" },
    threads: { type: "string", default: "2" },
    repeats: { type: "string", default: "3" },
  },
});
const [modelFolder] = positionals;
const { perturbation } = values;
const threads = Number(values.threads);
/** Steps of one message to the engine, as a replay sends them. */
const STRETCH = 64;

const model = await load(modelFolder);
const settings = resolveSettings({ task: "sst2", method: "full", perturbation }, threads);
const training = trainerOf(model, settings, 1000);
const { stepper } = training;
const engine = await openEngine(model, { method: training.method, training, threads });
/** The record of a step whose losses were made up. */
const recordOf = async (step) => {
  const driver = {
    losses: async (points) => points.map((_, i) => 0.7 + i / 1000),
    update: async () => {},
    refresh: async () => {},
  };
  return (await takeStep(stepper, step, 1e-9, driver)).record;
};
const stretch = async (from) => {
  const records = await Promise.all(Array.from({ length: STRETCH }, (_, i) => recordOf(from + i)));
  const moves = records.flatMap((record) => movesOf(stepper, record).moves);
  const start = performance.now();
  await engine.replay(moves);
  return (performance.now() - start) / 1000 / STRETCH;
};
await stretch(0);
const times = [];
for (let i = 0; i < Number(values.repeats); i++) times.push(await stretch((i + 1) * STRETCH));
await engine.close();
const secondsPerStep = median(times);
console.log(JSON.stringify({ perturbation, threads, secondsPerStep, stepsPerMinute: 60 / secondsPerStep }));
