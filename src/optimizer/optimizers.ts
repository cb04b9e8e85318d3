import { hizoo } from "./hizoo.js";
import { mezo } from "./mezo.js";
import type { Optimizer } from "./optimizer.js";

/** Every optimizer, by the name that the command line takes. */
export const optimizers = { mezo, hizoo } satisfies Readonly<Record<string, Optimizer>>;

export type OptimizerName = keyof typeof optimizers;
