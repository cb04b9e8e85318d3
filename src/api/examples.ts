import { chooseTask } from "../data/choose.js";
import { dataFile, type Row, readRows } from "../data/rows.js";
import { demonstrations, withDemonstrations } from "../data/shots.js";
import { drawShots } from "../data/split.js";
import type { Example, Task } from "../data/task.js";
import { treeBuilder } from "../data/tokenize.js";
import { led, rightBranchOnly, type TokenTree } from "../data/tree.js";
import { ZerothError } from "../errors.js";
import { type Metric, type MetricName, metricObjective, metrics } from "../objective/metrics.js";
import type { Objective } from "../objective/objective.js";
import { type ObjectiveName, objectives } from "../objective/objectives.js";
import type { Model } from "./load.js";
import type { Settings } from "./settings.js";
import type { DataChoice, FinetuneOptions } from "./types.js";
import { type Asks, answerRoom, asking } from "./written.js";

/** Examples that were cut, told aloud. */
export const truncationNote = (trees: readonly TokenTree[]): string | undefined => {
  const cut = trees.filter(({ truncated }) => truncated > 0).length;
  return cut === 0
    ? undefined
    : `${cut} of ${trees.length} examples are longer than the model's context and were cut${trees[0]?.at === undefined ? " from the left" : ""}.`;
};

/** The rows of a file as trees of tokens, in file order. */
export interface Examples {
  readonly task: Task;
  readonly examples: readonly Example[];
  /** For evaluation: all options of each row. */
  readonly trees: readonly TokenTree[];
}

const builderOf = ({ files, family }: Model, { metric }: Task) => {
  const { contextLength, reads, lead = 0 } = family;
  const room = metric === "f1" ? answerRoom(contextLength) : 0;
  const build = treeBuilder(files.tokenizer, contextLength - room, family);
  return (example: Example): TokenTree => led(build(example), lead, reads === "class");
};

export const examplesOf = (model: Model, task: Task, rows: readonly Row[], labelled = true, context = ""): Examples => {
  const build = builderOf(model, task);
  const examples = rows.map((row) =>
    withDemonstrations(task.example(row, { labelled, reads: model.family.reads }), context),
  );
  return { task, examples, trees: examples.map(build) };
};

/** Reads the training or validation rows of a choice. */
export const readExamples = async (
  model: Model,
  choice: DataChoice,
  split: "train" | "validation",
  options: { limit?: number | undefined; shots?: number | undefined } = {},
): Promise<Examples> => {
  const task = chooseTask(choice);
  const rows = await readRows(await dataFile(choice.data, split));
  const context = await shotsOf(model, choice, task, options.shots ?? 0);
  return examplesOf(model, task, rows.slice(0, options.limit), true, context);
};

const shotsOf = async (model: Model, choice: DataChoice, task: Task, shots: number): Promise<string> => {
  if (shots === 0) return "";
  if (model.family.reads !== "next")
    throw new ZerothError("--shots: demonstrations are for models that continue text.", { kind: "usage" });
  const rows = await readRows(await dataFile(choice.data, "train"));
  const drawn = drawShots(rows.length, shots, 0n).flatMap((index) => rows[index] ?? []);
  return demonstrations(drawn.map((row) => task.example(row)).filter((example) => example.kind === "text"));
};

/** An objective of outputs on packs, or of what the model writes. */
export type AskedObjective = Objective & { readonly asks?: Asks };

type Wanted = "loss" | MetricName | Metric;

/** The objective of a run: a function, which options alone can give, or a name. */
export const wantedOf = (
  { objective }: Pick<FinetuneOptions, "objective">,
  settings: Pick<Settings, "objective">,
): Wanted => (typeof objective === "function" ? objective : settings.objective);

/** @throws ZerothError (usage) for an objective that a task's rows have no answers for */
export const checkObjective = ({ name, metric }: Task, wanted: Wanted = "loss"): void => {
  if (wanted === "loss" || metric === "accuracy") return;
  if (metric === "f1" && typeof wanted !== "function") return;
  const why =
    metric === "f1"
      ? `${name} rows are answered in the model's own words, of which accuracy and f1 are known, and no function`
      : `${name} rows have no options to choose from, so there is no answer to measure`;
  throw new ZerothError(`--objective: ${why}.`, { kind: "usage" });
};

/** What a task is trained on: its own loss, a metric of its answers by name, or a function of them. */
export const objectiveOf = (model: Model, task: Task, wanted: Wanted = "loss"): AskedObjective => {
  checkObjective(task, wanted);
  const name: ObjectiveName = task.trainedAs;
  if (wanted === "loss") return objectives[name];
  if (typeof wanted === "function") return metricObjective("function", wanted);
  if (task.metric === "f1") return { ...objectives[name], name: wanted, asks: asking(model, wanted) };
  return metricObjective(wanted, metrics[wanted]);
};

/**
 * The trees that a task learns from (all options, or the right one alone), each made when it is first asked for: a large file
 * must not delay the first step.
 */
export const trainingTrees = (model: Model, task: Task, rows: readonly Row[]): ((index: number) => TokenTree) => {
  const build = builderOf(model, task);
  const made = new Map<number, TokenTree>();
  return (index) => {
    const known = made.get(index);
    if (known !== undefined) return known;
    const row = rows[index];
    if (row === undefined) throw new RangeError(`no row ${index} of ${rows.length}`);
    const whole = build(task.example(row, { reads: model.family.reads }));
    const tree = task.trainedAs === "classification" ? whole : rightBranchOnly(whole);
    made.set(index, tree);
    return tree;
  };
};
