import { elementsIn } from "../model/weights.js";
import type { PeftMethod } from "../peft/define.js";
import { methods } from "../peft/methods.js";
import type { Model } from "./load.js";
import { methodOf } from "./prepare.js";
import type { Settings } from "./settings.js";

/**
 * Weights for which the optimizers' presets for a model's own weights are right. What a step's noise does grows with the number of weights that
 * it reaches, and a rate that bears it falls with it. Of those tried (docs/accuracy.md) 6e-5 is best for all of a 135 M model, where 1.3e-4 is lost
 * after a hundred steps; eight of its thirty blocks bear 6e-4, twice what this gives them. Papers take 1e-6 to 1e-7 for 13 billion.
 */
const PRESET_WEIGHTS = 8e8;
/** Of a preset: smaller sets than models have are no guide. */
const MOST = 100;

/** Settings with the learning rate of a run that was told none, for the number of weights that it trains. */
export const withFittedRate = (model: Model, settings: Settings, isSaid: boolean): Settings => {
  const { folder }: PeftMethod = methods[settings.method];
  // Adapters are all small, and their presets are for that.
  if (isSaid || folder !== undefined) return settings;
  const weights = elementsIn(methodOf(model, settings).tensors);
  const fitted = settings.learningRate * Math.min(MOST, PRESET_WEIGHTS / weights);
  return { ...settings, learningRate: Number(fitted.toPrecision(2)) };
};
