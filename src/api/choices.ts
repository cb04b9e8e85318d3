import type { MethodChoice, OptimizerChoice } from "./types.js";

/** LoRA: rank-r side paths on some linear layers, everything else frozen (arXiv 2106.09685). */
export const lora = (options: Omit<Extract<MethodChoice, { kind: "lora" }>, "kind"> = {}): MethodChoice => ({
  kind: "lora",
  ...options,
});

/** Every parameter of the model, or of a range of its blocks. */
export const full = (options: Omit<Extract<MethodChoice, { kind: "full" }>, "kind"> = {}): MethodChoice => ({
  kind: "full",
  ...options,
});

/** MeZO: two-sided SPSA and zeroth-order SGD (arXiv 2305.17333). */
export const mezo = (options: Omit<OptimizerChoice, "name"> = {}): OptimizerChoice => ({ name: "mezo", ...options });

/** HiZOO: preconditioned by a running diagonal curvature (arXiv 2402.15173). */
export const hizoo = (options: Omit<OptimizerChoice, "name"> = {}): OptimizerChoice => ({ name: "hizoo", ...options });
