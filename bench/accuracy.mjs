// npm run bench:accuracy [-- --write]: accuracy on SST-2's validation rows against seconds and forward passes, the figure that users feel.
// Each trajectory is kept in bench/results/sst2.jsonl as it ends: cut off, it goes on there. --pace measures what steps take, which wants a
// quiet machine; --tried runs what settings were chosen among, on dev rows; --write puts what there is into docs/accuracy.md and its picture; --only NAME,… is for some setups.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { peer } from "./children.mjs";
import { accuracyPicture, accuracyTable, triedTable } from "./reports/accuracy.mjs";
import { insert } from "./reports/insert.mjs";
import { missing, modelFolder, root } from "./setup.mjs";
import { requestOf, setups, tried } from "./setups.mjs";
import { kept, pace, paceOf, trajectories } from "./sst2.mjs";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "3" },
    only: { type: "string" },
    tried: { type: "boolean" },
    pace: { type: "boolean" },
    write: { type: "boolean" },
  },
});
const seeds = Array.from({ length: Number(values.seeds) }, (_, seed) => seed);
const wanted = setups.filter(({ name }) => values.only === undefined || values.only.split(",").includes(name));

const why = missing();
if (why !== undefined) {
  console.log(`SKIPPED: ${why}`);
  process.exit(0);
}
const labelOf = ({ method, optimizer }) =>
  `${method.kind} ${method.layers?.join("..") ?? "all"} ${optimizer.learningRate}`;
if (values.tried) await trajectories(tried.map((request) => ({ label: labelOf(request.options), request })));
else if (values.pace) {
  for (const setup of wanted) await pace(setup.name, requestOf(setup, 0).options);
  for (const method of ["full", "lora"])
    await kept.once({ peer: method }, async () => peer(await modelFolder(), { form: "published", method }));
} else if (!values.write)
  await trajectories(
    seeds.flatMap((seed) => wanted.map((setup) => ({ label: setup.name, request: requestOf(setup, seed) }))),
  );

const found = wanted.flatMap((setup) => {
  const runs = [0, 1, 2].flatMap((seed) => kept.get(requestOf(setup, seed)) ?? []);
  const steps = paceOf(requestOf(setup, 0).options);
  const peerStep = kept.get({ peer: setup.peer })?.secondsPerStep;
  return runs.length === 0 || steps === undefined ? [] : { ...setup, runs, pace: steps, peerStep };
});
const choices = tried.flatMap((request) => {
  const run = kept.get(request);
  return run === undefined ? [] : { ...request.options, ...run };
});
console.log(`${accuracyTable(found)}\n\n${triedTable(choices)}`);
if (values.write) {
  insert(join(root, "docs/accuracy.md"), { accuracy: accuracyTable(found), tried: triedTable(choices) });
  writeFileSync(join(root, "docs/accuracy.svg"), accuracyPicture(found));
}
