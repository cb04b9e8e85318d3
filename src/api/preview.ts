import { chooseTask } from "../data/choose.js";
import { previewTree } from "../data/preview.js";
import { dataFile, readRows } from "../data/rows.js";
import { examplesOf } from "./examples.js";
import type { Model } from "./load.js";
import { splitOf } from "./split.js";
import type { PreviewOptions } from "./types.js";

const counted = (rows: readonly unknown[], kind: string): string => `${rows.length} ${kind} rows`;

/**
 * The tokens of the first training examples, as the model will see them, with the scored ones marked; of a few-shot run, how many there are, too.
 * @returns text for a terminal
 * @throws ZerothError when the data cannot be used
 */
export const preview = async (model: Model, options: PreviewOptions): Promise<string> => {
  const { perClass = null, dataSeed = 0, limit = 1 } = options;
  const task = chooseTask(options);
  const rows = await readRows(await dataFile(options.data, "train"));
  const split =
    perClass === null ? undefined : splitOf(model, task, rows, { perClass, dataSeed, trainRows: null, devRows: null });
  const sample = split?.train.flatMap((index) => rows[index] ?? []) ?? rows;
  const { trees, examples } = examplesOf(model, task, sample.slice(0, limit));
  const shown = trees.map((tree, i) => {
    const example = examples[i];
    const classes = example?.kind === "plain" ? { classes: example.options } : {};
    const title = `${task.name}, line ${tree.line}`;
    return previewTree(tree, model.files.tokenizer, { title, colour: options.colour, ...classes });
  });
  const counts =
    split && `${counted(split.train, "training")} and ${counted(split.dev, "dev")}: ${perClass} of each class`;
  return [...(counts === undefined ? [] : [counts]), ...shown].join("\n\n");
};
