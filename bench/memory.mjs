// Peak resident memory of a whole process that evaluates, or trains and saves.
//   node bench/memory.mjs MODEL ROWS evaluate|lora|full [threads]
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { evaluate, finetune, full, load, lora, mezo } from "../dist/index.js";

const [modelFolder, data, what, threads = "2"] = process.argv.slice(2);
const model = await load(modelFolder);
const choice = { data, task: "sst2", threads: Number(threads) };
if (what === "evaluate") await evaluate(model, choice);
else {
  const out = mkdtempSync(join(tmpdir(), "zeroth-bench-"));
  const optimizer = mezo({ perturbation: "rademacher", learningRate: 1e-6 });
  const run = finetune(model, {
    ...choice,
    method: what === "full" ? full() : lora(),
    optimizer,
    steps: 6,
    devRows: 0,
    evalEvery: 0,
    out,
  });
  for await (const _ of run);
  rmSync(out, { recursive: true });
}
console.log(JSON.stringify({ what, peakRssBytes: process.resourceUsage().maxRSS * 1024 }));
