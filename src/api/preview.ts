import { existsSync, statSync } from "node:fs";
import { previewTree } from "../data/preview.js";
import { readExamples } from "./examples.js";
import type { Model } from "./load.js";
import type { PreviewOptions } from "./types.js";

/**
 * The tokens of the first examples, as the model will see them, with the scored ones marked.
 * @returns text for a terminal
 * @throws ZerothError when the data cannot be used
 */
export const preview = async (model: Model, options: PreviewOptions): Promise<string> => {
  const isFolder = existsSync(options.data) && statSync(options.data).isDirectory();
  const { task, trees, examples } = await readExamples(model, options, isFolder ? "train" : "validation", {
    limit: options.limit ?? 1,
  });
  const shown = trees.map((tree, i) => {
    const example = examples[i];
    const classes = example?.kind === "plain" ? { classes: example.options } : {};
    const title = `${task.name}, line ${tree.line}`;
    return previewTree(tree, model.files.tokenizer, { title, colour: options.colour, ...classes });
  });
  return shown.join("\n\n");
};
