import { lozoDefinition } from "./lozo.js";
import { defineOptimizer } from "./optimizer.js";

/** LOZO-M: LOZO with a running mean of its estimates, kept in the core and carried over to a new V by N ← N·V_oldᵀV_new / n. */
export const lozoM = defineOptimizer({
  ...lozoDefinition,
  name: "lozo-m",
  summary: "LOZO with momentum that costs rank numbers a row",
  formula: "N ← βN + (1 − β)·c·U;  W ← W − η·NVᵀ / r;  at a refresh N ← N·V_oldᵀV_new / n",
  decisions: ["N starts at 0 (the released program starts it at c·U)."],
  published: "β 0.9, otherwise as LOZO's",
  common: { momentum: 0.9, dampening: 0.9 },
});
