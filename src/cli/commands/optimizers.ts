import { optimizers as describe, type OptimizerDescription } from "../../index.js";
import { flagged } from "../choices.js";
import { defineCommand } from "../command.js";
import { about } from "../flags.js";
import { counted, setting } from "../format.js";
import { commandLine } from "../shell.js";
import type { Terminal } from "../terminal.js";
import { or, table } from "../words.js";

/** A page is no wider than lines can be read. */
const widthOf = ({ columns }: Terminal): number => Math.min(columns, 120);

/** The arithmetic that a formula of evaluations begins with, mostly all of it. */
const arithmeticOf = (evaluations: string): string => /^[\dq+ ]*[\dq]/.exec(evaluations)?.[0] ?? "";

/** "2q = 2"; "4q …" where there is more to it. */
const evaluationsOf = ({ evaluations, defaultEvaluations }: OptimizerDescription): string => {
  const formula = arithmeticOf(evaluations);
  return formula === evaluations ? `${formula} = ${defaultEvaluations}` : `${formula} …`;
};

const costOf = ({ evaluations, defaultEvaluations, defaultQueries }: OptimizerDescription): string =>
  arithmeticOf(evaluations) === evaluations
    ? `${evaluations} a step of q queries; by default ${defaultEvaluations} with ${counted(defaultQueries, "query", "queries")}`
    : `${evaluations}; by default ${defaultEvaluations} a step in a long run's mean`;

const memoryOf = ({ stateBytes }: OptimizerDescription): string =>
  stateBytes === "0"
    ? "none besides the weights"
    : `${stateBytes} for each trained weight${/[mn]/.test(stateBytes) ? " of an m × n matrix" : ""}, besides the weight`;

/** A line about each. */
const overview = (all: readonly OptimizerDescription[], terminal: Terminal): readonly string[] => {
  const { paint } = terminal;
  const rows = all.map((one) => [
    ...[one.name, one.paper.replace("arXiv ", ""), evaluationsOf(one), one.stateBytes, one.summary],
  ]);
  return table([["optimizer", "arXiv", "evaluations", "bytes", "good at"], ...rows], {
    width: widthOf(terminal),
    most: [18, 10, 11, 16],
    paint: (cell, { row, column }) => (row === 0 ? paint.dim(cell) : column === 0 ? paint.bold(cell) : cell),
  });
};

const legend = [
  ["evaluations", "of the loss in a step of q queries; how many that is by default; … where steps differ"],
  ["bytes", "kept for each trained weight of an m × n matrix, besides the weight: states, masks, factors of subspaces"],
];

const flagOf = (name: string): string => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
const ownFlag = (name: string): boolean => (flagged as readonly string[]).includes(name);
/** Settings as arguments: a number after its flag, true as the flag alone. */
const argsOf = (settings: Readonly<Record<string, unknown>>): readonly string[] =>
  Object.entries(settings).flatMap(([name, value]) =>
    value === true ? [flagOf(name)] : [flagOf(name), typeof value === "number" ? setting(value) : String(value)],
  );

/** A run of it that can be typed, its hyperparameters where they start. */
const exampleOf = ({ name, hyperparameters, subspace }: OptimizerDescription): readonly string[] => {
  const own = hyperparameters.filter((one) => !ownFlag(one.name)).slice(0, 2);
  return [
    ...["finetune", "--model", "./model", "--task", "sst2", "--data", "sst2/", "--optimizer", name],
    // Subspaces are for the many weights of a model.
    ...(subspace.kind === "dense" ? [] : ["--method", "full"]),
    // A few, to show how they are said.
    ...(own.length === 0
      ? []
      : ["--hyperparameters", own.map((one) => `${one.name}=${setting(one.default)}`).join(",")]),
    ...["--out", "tuned"],
  ];
};

const withOthers = (own: string, flag: string, others: readonly string[]): string =>
  others.length === 0 ? own : `${own}; with ${flag}: ${or(others)}`;

/** Room for the longest heading. */
const INDENT = "hyperparameters  ".length;

/** All about one, under headings. */
const page = (one: OptimizerDescription, program: string, terminal: Terminal): readonly string[] => {
  const { paint } = terminal;
  const room = widthOf(terminal) - INDENT;
  const { kind, ...inSubspace } = one.subspace;
  const of = Object.entries(inSubspace).map(([name, value]) => `${name} ${value}`);
  const [perturbation = "", ...others] = one.perturbations;
  const sections: Readonly<Record<string, readonly string[]>> = {
    paper: [`${one.paper}, ${one.link}`],
    "good at": [one.summary],
    formula: one.formula,
    evaluations: [costOf(one)],
    bytes: [memoryOf(one), ...(one.states.length === 0 ? [] : [`states: ${one.states.join(", ")}`])],
    estimator: [withOthers(one.estimator, "--estimator", one.otherEstimators)],
    noise: [withOthers(perturbation, "--perturbation", others)],
    subspace: [of.length === 0 ? kind : `${kind} (${of.join(", ")})`],
    "start from": table(
      one.methods.map((method) => [
        `--method ${method}`,
        argsOf({ ...one.defaults[method === "full" ? "full" : "adapter"] }).join(" "),
        method === "full" ? "where 1.7 billion weights are trained; a larger rate for fewer" : "",
      ]),
      { width: room },
    ),
    ...(Object.keys(one.preset).length === 0 ? {} : { "sets also": [argsOf(one.preset).join(" ")] }),
    hyperparameters: table(
      one.hyperparameters.map(({ name, default: value, range }) => [
        ...[ownFlag(name) ? flagOf(name) : name, setting(value), range],
      ]),
      { width: room },
    ),
    decisions: table(
      one.decisions.map((decision) => ["-", decision]),
      { width: room },
    ),
    published: [one.published],
  };
  const rows = Object.entries(sections).flatMap(([heading, lines]) =>
    lines.map((line, i) => [i === 0 ? heading : "", line]),
  );
  return [
    paint.bold(one.name),
    ...table(rows, {
      width: widthOf(terminal),
      paint: (cell, { column }) => (column === 0 ? paint.dim(cell) : cell),
    }),
    "",
    "Try it:",
    `  ${commandLine(program, exampleOf(one))}`,
  ];
};

export const optimizers = defineCommand({
  name: "optimizers",
  summary: "List the optimizers: what a step of each costs and what it is good at; by its name, all about one.",
  flags: { about },
  examples: [
    ["", "a line about each"],
    ["hizoo", "its arithmetic, hyperparameters and where to start from"],
    ["--json", "for a script: an object each"],
  ],
  async run({ about: name }, { terminal, program }) {
    const all = describe();
    const chosen = name === undefined ? all : all.filter((one) => one.name === name);
    for (const one of terminal.json ? chosen : []) terminal.record(one);
    if (name !== undefined) {
      for (const one of chosen) for (const line of page(one, program, terminal)) terminal.line(line);
      return 0;
    }
    for (const line of overview(all, terminal)) terminal.line(line);
    terminal.line();
    for (const line of table(legend, { width: widthOf(terminal) })) terminal.line(terminal.paint.dim(line));
    terminal.line();
    terminal.line("All about one:");
    terminal.line(`  ${program} optimizers NAME`);
    return 0;
  },
});
