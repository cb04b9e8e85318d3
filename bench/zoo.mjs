// npm run bench:zoo: the optimizers on SmolLM2-135M-Instruct and SST-2. Every method is screened on dev rows with a short budget, the better half
// at more rates with twice of it, and the survivors trained on three seeds. Each trajectory is kept in bench/results/zoo.jsonl as it
// ends: cut off, it goes on there. --stage 1|2|3 runs one stage alone.
import { join } from "node:path";
import { parseArgs } from "node:util";
import { child } from "./children.mjs";
import { contenders, request } from "./contenders.mjs";
import { ledger } from "./ledger.mjs";
import { missing, modelFolder, root, shared } from "./setup.mjs";

const { values } = parseArgs({ options: { stage: { type: "string" }, only: { type: "string" } } });
const why = missing();
if (why !== undefined) {
  console.log(`SKIPPED: ${why}`);
  process.exit(0);
}
const model = await modelFolder();
const kept = ledger(join(root, "bench/results/zoo.jsonl"));
const data = join(shared, "data/sst2");

/** A trajectory of a method at a rate, evaluated at parts of its steps. */
const run = (stage, name, learningRate, { forwards, seed = 0, parts, on, limit }) =>
  kept.once({ stage, name, learningRate, seed, forwards }, async () => {
    const options = { data, ...request(name, learningRate, forwards, seed) };
    const at = parts.map((part) => Math.round(part * options.steps));
    const label = `${name} ${learningRate}`;
    return child("bench/train.mjs", [model, JSON.stringify({ options, at, on, limit, label })]);
  });

const screening = { forwards: 240, parts: [0.5, 1], on: "dev", limit: 300 };
const named = Object.keys(contenders).filter((name) => contenders[name].same === undefined);

if (values.stage === undefined || values.stage === "1")
  for (const name of named)
    for (const rate of contenders[name].rates) {
      if (values.only !== undefined && !values.only.split(",").includes(name)) continue;
      await run("screening", name, rate, screening);
    }
