import { chooseTask } from "../data/choose.js";
import { threadsOf } from "./engines.js";
import { checkObjective, wantedOf } from "./examples.js";
import { resolveSettings, said } from "./settings.js";
import { checkSplit } from "./split.js";
import type { FinetuneOptions } from "./types.js";

/**
 * Refuses options that make no run, before there is a model: names and numbers out of range, combinations that make no sense, no way
 * to read rows. What depends on the model or the data is refused by `finetune`. Says nothing of a run that is gone on with, whose journal has
 * the rest of its options.
 *
 * @throws ZerothError (usage), in a sentence
 */
export const checkOptions = (options: FinetuneOptions): void => {
  if (options.resume === true) return;
  const settings = resolveSettings(said(options), threadsOf(options.threads));
  const task = chooseTask(options);
  checkSplit(task, settings);
  checkObjective(task, wantedOf(options, settings));
};
