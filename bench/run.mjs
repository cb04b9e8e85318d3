// npm run bench [-- --json] [-- --only NAME[,NAME…]] [-- --write]: one table. Every figure is measured in this run, or says why not.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ROWS, skip, THREADS } from "./children.mjs";
import { machineFigures } from "./figures/machine.mjs";
import { memoryFigures } from "./figures/memory.mjs";
import { peerFigures } from "./figures/peers.mjs";
import { scaleFigures } from "./figures/scale.mjs";
import { stepFigures } from "./figures/steps.mjs";
import { machine, missing, modelFolder, root } from "./setup.mjs";

const { values } = parseArgs({
  options: { json: { type: "boolean" }, only: { type: "string" }, write: { type: "boolean" } },
});
const why = missing();
const model = why === undefined ? await modelFolder() : "";
/** One more figure is one more row in its table; `most` or `least` is its goal, `unit` is × where there is none. */
const sections = {
  Steps: stepFigures(model),
  "Against PyTorch MeZO": peerFigures(model),
  Memory: memoryFigures(model),
  "Kernels, replay, start": machineFigures(model),
  Scale: scaleFigures(),
};

const all = Object.values(sections).flat();
const names = values.only?.split(",") ?? all.map(({ figure }) => figure);
const unknown = names.find((name) => !all.some(({ figure }) => figure === name));
if (unknown !== undefined) {
  console.error(`No figure is called ${unknown}. There are: ${all.map(({ figure }) => figure).join(", ")}.`);
  process.exit(2);
}

/** As scripts read it. */
const record = ({ figure, unit = "×", most, least }, { value, skipped }) =>
  skipped === undefined
    ? {
        ...{ figure, value: Number(value.toFixed(3)), unit, goal: most ?? least ?? null },
        direction: least === undefined ? "max" : "min",
      }
    : { figure, skipped };
const boundOf = ({ most, least }) => (most !== undefined ? `≤ ${most}` : least !== undefined ? `≥ ${least}` : "");
const isMet = ({ most = Number.POSITIVE_INFINITY, least = Number.NEGATIVE_INFINITY }, { value }) =>
  value <= most && value >= least;
const shown = ({ unit = "×" }, { value, skipped }) =>
  skipped === undefined ? `${value < 1000 ? value.toFixed(2) : value.toFixed(0)} ${unit}` : `skipped: ${skipped}`;
const verdict = (row, found) =>
  boundOf(row) === "" || found.skipped !== undefined ? "" : isMet(row, found) ? "yes" : "no";

if (!values.json)
  console.log(`${machine()}\nSmolLM2-135M-Instruct fp32, SST-2, ${ROWS} rows a step, ${THREADS} threads`);
/** One row that fails does not take the others with it. */
const measured = async ({ measure }) => {
  try {
    return await measure();
  } catch (error) {
    process.exitCode = 1;
    return skip(`failed: ${error.message.split("\n").at(0)}`);
  }
};
const found = new Map();
for (const [title, rows] of Object.entries(sections)) {
  const wanted = rows.filter(({ figure }) => names.includes(figure));
  if (wanted.length > 0 && !values.json) console.log(`\n${title}`);
  for (const row of wanted) {
    const result = why === undefined ? await measured(row) : skip(why);
    found.set(row.figure, result);
    if (values.json) console.log(JSON.stringify(record(row, result)));
    else {
      const met = verdict(row, result);
      const goal = met === "" ? "" : `  (goal ${boundOf(row)}${met === "yes" ? "" : ", NOT MET"})`;
      console.log(`  ${row.says}: ${shown(row, result)}${goal}${result.note ? `  [${result.note}]` : ""}`);
    }
  }
}

if (values.write) {
  const table = (rows) =>
    rows
      .filter(({ figure }) => found.has(figure))
      .map((row) => {
        const result = found.get(row.figure);
        return `| ${row.says} | ${shown(row, result)} | ${boundOf(row)} | ${verdict(row, result)} | ${result.note ?? ""} |`;
      })
      .join("\n");
  const text = Object.entries(sections)
    .map(
      ([title, rows]) =>
        `## ${title}\n\n| figure | value | goal | met | measured |\n|---|---|---|---|---|\n${table(rows)}\n`,
    )
    .join("\n");
  writeFileSync(
    join(root, "docs/benchmarks.md"),
    `# Benchmarks

\`npm run bench -- --write\` printed this on ${new Date().toISOString().slice(0, 10)}; \`-- --only NAME\` measures one row. What limits what is in
[performance.md](performance.md).

Machine: ${machine()}. SmolLM2-135M-Instruct in fp32, SST-2, the first ${ROWS} training rows a step, ${THREADS} threads. Ratios are of medians measured in
the same run; the machine is shared and noisy, so read ratios, not seconds. "Two forwards" are evaluation forwards of the same graph (adapter included) over the same packs.
The peer is PyTorch MeZO (\`bench/peers/\`). Published: every option its own padded row, logits at every position, Gaussian noise by \`torch.normal\`. Lean: one padded row an
example, the label's logits only. It needs Python; without it its rows are skipped aloud. Memory is the peak resident memory of whole processes.

${text}`,
  );
}
