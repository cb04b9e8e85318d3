import type { Row } from "../data/rows.js";
import { type Split, splitPerClass, splitRows } from "../data/split.js";
import type { Task } from "../data/task.js";
import { ZerothError } from "../errors.js";
import type { Model } from "./load.js";
import type { Settings } from "./settings.js";

type SplitSettings = Pick<Settings, "trainRows" | "devRows" | "perClass" | "dataSeed">;

/** @throws ZerothError (usage) for a split by classes of rows that have none */
export const checkSplit = (task: Task, { perClass }: Pick<Settings, "perClass">): void => {
  if (perClass === null || task.trainedAs === "classification") return;
  throw new ZerothError(`--per-class: ${task.name} rows are of no class.`, { kind: "usage" });
};

/**
 * Which rows of a file are trained on, and which are dev rows.
 * @throws ZerothError when there are too few
 */
export const splitOf = (
  { family }: Model,
  task: Task,
  rows: readonly Row[],
  { trainRows, devRows, perClass, dataSeed }: SplitSettings,
): Split => {
  checkSplit(task, { perClass });
  const seed = BigInt(dataSeed);
  if (perClass === null)
    return splitRows(rows.length, { trainRows: trainRows ?? undefined, devRows: devRows ?? undefined, seed });
  const examples = rows.map((row) => task.example(row, { reads: family.reads }));
  const choices = examples.flatMap((example) => (example.kind === "chat" ? [] : [example]));
  const labels = choices.map(({ label }) => label);
  return splitPerClass(labels, (choices[0]?.answers ?? []).map(String), { perClass, seed });
};
