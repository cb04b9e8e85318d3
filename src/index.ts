/**
 * Zeroth: fine-tune language models with forward passes only.
 *
 * @module
 * @example
 * ```ts
 * import { finetune, load, lora, mezo } from "zeroth";
 *
 * const model = await load("HuggingFaceTB/SmolLM2-135M-Instruct");
 * const run = finetune(model, { data: "reviews.jsonl", task: "sst2", method: lora({ rank: 8 }), optimizer: mezo(), steps: 2000 });
 * for await (const event of run) if (event.type === "step") console.log(event.step, event.loss);
 * await run.save("reviews-adapter");
 * ```
 */

export { checkOptions } from "./api/check.js";
export {
  choices,
  full,
  hizoo,
  lora,
  type MethodDescription,
  method,
  methods,
  mezo,
  type OptimizerOptions,
  optimizer,
  optimizers,
} from "./api/choices.js";
export { doctor } from "./api/doctor.js";
export { evaluate } from "./api/evaluate.js";
export { exportModel } from "./api/export.js";
export { finetune } from "./api/finetune.js";
export { generate } from "./api/generate.js";
export { load, type Model } from "./api/load.js";
export { merge } from "./api/merge.js";
export { minimize } from "./api/minimize.js";
export { predict } from "./api/predict.js";
export { preview } from "./api/preview.js";
export { replay } from "./api/replay.js";
export { rows } from "./api/rows.js";
export type * from "./api/types.js";
export { ZerothError } from "./errors.js";
export type { EstimatorName } from "./estimator/estimators.js";
export type { Answer, Metric, MetricName } from "./objective/metrics.js";
export type { HyperparameterDescription, OptimizerDescription } from "./optimizer/describe.js";
export type { OptimizerName } from "./optimizer/optimizers.js";
export type { MethodName, MethodOptionsOf } from "./peft/methods.js";
export type { PartitionLevel } from "./peft/partition.js";
export type { PerturbationName } from "./perturbation/perturbations.js";
export type { SubspaceName } from "./perturbation/subspace.js";
export type { ScheduleKind } from "./train/schedule.js";
