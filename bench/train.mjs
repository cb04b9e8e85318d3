// node bench/train.mjs MODEL 'JSON': one trajectory in a process of its own. The last line is JSON: its points, and the peak resident memory.
//   { options (as finetune takes them), seconds (when to evaluate), on ("dev" or "validation"), limit }
import { load } from "../dist/index.js";
import { trajectory } from "./trajectory.mjs";

const [folder, request] = process.argv.slice(2);
const { label = "", ...rest } = JSON.parse(request);
const model = await load(folder);
const found = await trajectory({
  model,
  ...rest,
  onPoint: ({ seconds, steps, accuracy, loss }) =>
    console.error(
      `  ${label} ${seconds.toFixed(0)} s, step ${steps}: ${(100 * accuracy).toFixed(1)} %, loss ${loss.toFixed(3)}`,
    ),
});
console.log(JSON.stringify({ ...found, peakMebibytes: Math.round(process.resourceUsage().maxRSS / 1024) }));
