// node bench/train.mjs MODEL 'JSON': one trajectory in a process of its own. The last line is JSON: its points, and the peak resident memory.
//   { options (as finetune takes them), at (steps after which to evaluate), on ("dev" or "validation"), limit }
import { load } from "../dist/index.js";
import { trajectory } from "./trajectory.mjs";

const [folder, request] = process.argv.slice(2);
const { label = "", ...rest } = JSON.parse(request);
const model = await load(folder);
const found = await trajectory({
  model,
  ...rest,
  onPoint: ({ steps, forwards, seconds, cpu, accuracy, nats }) =>
    console.error(
      `  ${label} step ${steps}, ${Math.round(forwards)} forwards, ${seconds.toFixed(0)} s (processors ${cpu.toFixed(0)} s): ${(100 * accuracy).toFixed(1)} %, ${nats.toFixed(4)} nats`,
    ),
});
console.log(JSON.stringify({ ...found, peakMebibytes: Math.round(process.resourceUsage().maxRSS / 1024) }));
