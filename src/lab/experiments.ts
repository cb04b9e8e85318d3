import type { Experiment } from "./experiment.js";
import { conditioning } from "./experiments/conditioning.js";
import { epsilon } from "./experiments/epsilon.js";
import { noise } from "./experiments/noise.js";
import { trajectories } from "./experiments/trajectories.js";
import { variance } from "./experiments/variance.js";

/** Every experiment, by the name that the command line takes. */
export const experiments = { trajectories, conditioning, noise, epsilon, variance } satisfies Readonly<
  Record<string, Experiment>
>;

export type ExperimentName = keyof typeof experiments;
