import { languageModel } from "./language.js";
import type { Objective } from "./objective.js";
import { classification } from "./option.js";

/** Every objective, by the name that tasks use. */
export const objectives = {
  classification,
  "language-model": languageModel,
} satisfies Readonly<Record<string, Objective>>;

export type ObjectiveName = keyof typeof objectives;
