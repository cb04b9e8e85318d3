import type { Estimator } from "./estimator.js";
import { oneSided } from "./one-sided.js";
import { twoSided } from "./two-sided.js";

/** Estimators that any rule can learn from, by the name that the command line takes; others belong to an optimizer. */
export const estimators = {
  "two-sided": twoSided,
  "one-sided": oneSided,
} satisfies Readonly<Record<string, Estimator<undefined>>>;

export type EstimatorName = keyof typeof estimators;
