import { relative } from "node:path";
import type { Row } from "../../lab/experiment.js";
import { listExperiments, lab as measure } from "../../lab/lab.js";
import { defineCommand } from "../command.js";
import { labFlags } from "../flags.js";
import { bar, duration } from "../format.js";
import { table } from "../words.js";

/** "learningRate" as a heading: "learning rate". */
const heading = (name: string): string => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

const cell = (value: Row[string]): string => {
  if (value === null) return "–";
  if (typeof value === "string" || Number.isInteger(value)) return String(value);
  return Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6
    ? value.toExponential(2)
    : String(Number(value.toPrecision(4)));
};

const namesIn = (text: string | undefined): readonly string[] | undefined =>
  text?.split(",").map((name) => name.trim());

export const lab = defineCommand({
  name: "lab",
  summary:
    "Try optimizers on plain functions: paths, conditioning, noise and variance, measured and drawn in about a minute.",
  flags: labFlags,
  examples: [
    ["", "all experiments: a table and a picture of each"],
    ["trajectories --optimizers mezo,hizoo,adam-forward", "the paths of some optimizers"],
    ["variance --seed 7 --out pictures --json", "for a script: an object a line"],
    ["--list", "what there is"],
  ],
  async run({ experiments, optimizers, steps, seed, out, list }, { terminal }) {
    const { paint, columns } = terminal;
    const lines = (rows: readonly (readonly string[])[]): readonly string[] =>
      table(rows, {
        width: Math.min(columns, 120),
        paint: (text, { row }) => (row === 0 ? paint.dim(text) : text),
      });
    if (list) {
      const known = listExperiments();
      if (terminal.json) for (const one of known) terminal.record(one);
      for (const line of lines([
        ["experiment", "what it measures"],
        ...known.map(({ experiment, summary }) => [experiment, summary]),
      ]))
        terminal.line(line);
      return 0;
    }
    const start = performance.now();
    const files = await measure({
      ...{ out, seed, steps, experiments: namesIn(experiments), optimizers: namesIn(optimizers) },
      onProgress: (experiment, done, total) => terminal.status(`${paint.cyan(bar(done / total, 16))}  ${experiment}`),
      onMeasured(experiment, rows) {
        terminal.status();
        if (terminal.json) for (const row of rows) terminal.record({ type: "measurement", experiment, ...row });
        const names = Object.keys(rows[0] ?? {});
        terminal.line(paint.bold(experiment));
        for (const line of lines([
          names.map(heading),
          ...rows.map((row) => names.map((name) => cell(row[name] ?? null))),
        ]))
          terminal.line(line);
        terminal.line();
      },
    });
    if (terminal.json) terminal.record({ type: "done", files });
    const seconds = (performance.now() - start) / 1000;
    terminal.line(`Drawn in ${duration(seconds)}: ${files.map((file) => relative(".", file) || file).join(", ")}`);
    return 0;
  },
});
