import { gaussian } from "./gaussian.js";
import type { Perturbation } from "./perturbation.js";
import { rademacher } from "./rademacher.js";
import { sphere } from "./sphere.js";

/** Every perturbation, by the name that the command line takes. */
export const perturbations = { gaussian, rademacher, sphere } satisfies Readonly<Record<string, Perturbation>>;

export type PerturbationName = keyof typeof perturbations;
