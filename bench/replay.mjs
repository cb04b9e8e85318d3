// Full-parameter steps that a replay applies a minute: `node bench/replay.mjs MODEL [--perturbation gaussian|rademacher]`. Prints one JSON object.
import { parseArgs } from "node:util";
import { openEngine } from "../dist/api/engines.js";
import { trainerOf } from "../dist/api/prepare.js";
import { resolveSettings } from "../dist/api/settings.js";
import { load } from "../dist/index.js";
import { movesOf } from "../dist/train/step.js";
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
const record = (step) => ({
  step,
  refused: false,
  losses: Float32Array.of(0.7, 0.7),
  // The gradient's coefficient, decay and learning rate.
  numbers: Float32Array.of(0.5, 1, 1e-9),
});
const stretch = async (from) => {
  const moves = Array.from({ length: STRETCH }, (_, i) => movesOf(stepper, record(from + i))).flat();
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
