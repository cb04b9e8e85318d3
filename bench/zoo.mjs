// npm run bench:zoo [-- --write]: the optimizers on SmolLM2-135M-Instruct and SST-2. Every method is screened on dev rows with a short budget, the
// better half is looked at again with other rates, and the survivors are trained on three seeds. Each trajectory is kept in bench/results/sst2.jsonl as
// it ends: cut off, it goes on there. --seeds 1 trains survivors on the first alone. --stage screening|second|final|pace runs one stage alone; --write puts what there is into docs/results.md.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { contender, contenders, finals, second } from "./contenders.mjs";
import { insert } from "./reports/insert.mjs";
import { stageTable, survivorTable, zooPicture } from "./reports/zoo.mjs";
import { missing, root } from "./setup.mjs";
import { whole } from "./setups.mjs";
import { asked, kept, pace, paceOf, trajectories } from "./sst2.mjs";

const { values } = parseArgs({
  options: { stage: { type: "string" }, seeds: { type: "string", default: "3" }, write: { type: "boolean" } },
});
const why = missing();
if (why !== undefined) {
  console.log(`SKIPPED: ${why}`);
  process.exit(0);
}

const seeds = [0, 1, 2].slice(0, Number(values.seeds));
const dev = { parts: [0.5, 1], on: "dev", limit: 300 };
const screened = Object.entries(contenders).flatMap(([name, { rates = [] }]) => rates.map((rate) => ({ name, rate })));
const entry = (tuned, forwards, seed, how) => {
  const options = contender(tuned, forwards, seed);
  return { ...tuned, seed, label: `${tuned.name} ${tuned.rate}`, request: asked(options, how) };
};
const stages = {
  screening: screened.map((tuned) => entry(tuned, 240, 0, dev)),
  second: second.map((tuned) => entry(tuned, 240, 0, dev)),
  final: seeds.flatMap((seed) => finals.map((tuned) => entry(tuned, 1000, seed, whole))),
};

if (!values.write) {
  for (const [stage, entries] of Object.entries(stages))
    if (values.stage === undefined || values.stage === stage) await trajectories(entries);
  if (values.stage === undefined || values.stage === "pace")
    for (const { name, request } of stages.final.slice(0, finals.length)) await pace(name, request.options);
}

const foundIn = (stage) =>
  stages[stage].flatMap(({ request, ...rest }) => {
    const found = kept.get(request);
    return found === undefined ? [] : { ...rest, ...found, pace: paceOf(request.options) };
  });
const blocks = {
  screening: stageTable(foundIn("screening")),
  second: stageTable(foundIn("second")),
  survivors: survivorTable(foundIn("final")),
};
for (const block of Object.values(blocks)) console.log(`${block}\n`);
if (values.write) {
  insert(join(root, "docs/results.md"), blocks);
  writeFileSync(join(root, "docs/results.svg"), zooPicture(foundIn("final")));
}
