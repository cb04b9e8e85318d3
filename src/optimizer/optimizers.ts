import { hizoo } from "./hizoo.js";
import { mezo } from "./mezo.js";

/** Every optimizer, by the name that the command line takes. */
export const optimizers = { mezo, hizoo } as const;

export type OptimizerName = keyof typeof optimizers;
