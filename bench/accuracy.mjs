// npm run bench:accuracy [-- --write]: accuracy on SST-2's validation rows against seconds and forward passes, the figure that users feel.
// Each trajectory is kept in bench/results/accuracy.jsonl as it ends: cut off, it goes on there. --pace measures what steps take, which wants a
// quiet machine; --write makes docs/accuracy.md and its picture of what there is; --only NAME,… runs some setups.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { child, peer } from "./children.mjs";
import { ledger } from "./ledger.mjs";
import { looks } from "./pace.mjs";
import { accuracyPicture, accuracyReport } from "./reports/accuracy.mjs";
import { machine, missing, modelFolder, root, shared } from "./setup.mjs";
import { common, setups } from "./setups.mjs";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "3" },
    only: { type: "string" },
    pace: { type: "boolean" },
    write: { type: "boolean" },
  },
});
const kept = ledger(join(root, "bench/results/accuracy.jsonl"));
const seeds = Array.from({ length: Number(values.seeds) }, (_, seed) => seed);
const wanted = setups.filter(({ name }) => values.only === undefined || values.only.split(",").includes(name));

const train = async (model, { name, steps, rows = {}, ...options }, request) =>
  child("bench/train.mjs", [
    model,
    JSON.stringify({
      label: name,
      options: { ...common, ...rows, ...options, data: join(shared, "data/sst2"), steps },
      ...request,
    }),
  ]);

if (!values.write) {
  const why = missing();
  if (why !== undefined) {
    console.log(`SKIPPED: ${why}`);
    process.exit(0);
  }
  const model = await modelFolder();
  if (values.pace) {
    for (const setup of wanted)
      await kept.once({ pace: setup.name }, async () => ({
        machine: machine(),
        ...(await train(model, setup, { at: looks, on: "dev", limit: 16 })),
      }));
    for (const method of ["full", "lora"])
      await kept.once({ peer: method }, async () => ({ machine: machine(), ...(await peer(model, { form: "published", method })) }));
  } else
    for (const seed of seeds)
      for (const setup of wanted)
        await kept.once({ setup: setup.name, steps: setup.steps, rate: setup.optimizer.learningRate, seed }, () => {
          const at = [0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1].map((part) => Math.round(part * setup.steps));
          return train(model, { ...setup, seed }, { at, on: "validation" });
        });
}

const report = accuracyReport(kept.entries(), setups);
console.log(report);
if (values.write) {
  writeFileSync(join(root, "docs/accuracy.md"), report);
  writeFileSync(join(root, "docs/accuracy.svg"), accuracyPicture(kept.entries(), setups));
}
