// Seconds from opening a model to an engine that has loaded a graph of it, with LoRA and an optimizer: `node bench/ready.mjs MODEL`.
import { openEngine } from "../dist/api/engines.js";
import { trainerOf } from "../dist/api/prepare.js";
import { resolveSettings } from "../dist/api/settings.js";
import { load } from "../dist/index.js";
import { median } from "./setup.mjs";

const [folder] = process.argv.slice(2);
const settings = resolveSettings({ task: "sst2" }, 2);
const times = [];
for (let i = 0; i < 3; i++) {
  const start = performance.now();
  const model = await load(folder);
  const training = trainerOf(model, settings, 1000);
  const engine = await openEngine(model, { method: training.method, training, threads: 2 });
  // Graphs are made when they are first run.
  await engine.evaluate({ points: [], runs: [{ graph: "columns", feeds: {} }] });
  times.push((performance.now() - start) / 1000);
  await engine.close();
}
console.log(JSON.stringify({ seconds: median(times) }));
