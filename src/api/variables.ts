import { openVariables } from "../engine/variables.js";
import { withCores } from "../peft/cores.js";
import type { Method } from "../peft/method.js";
import { isLowRank } from "../perturbation/subspace.js";
import { type Driver, driving } from "../train/step.js";
import { choiceOf } from "./choice.js";
import type { Settings } from "./settings.js";
import { trainingOf } from "./training.js";

/**
 * The variables of a function with everything that moves them: what trains a model, without the model. All tensors start at 0; write their first
 * values and mark them.
 *
 * @param layers blocks that the tensors are in
 */
export const variablesFor = (settings: Settings, whole: Method, layers = 1) => {
  const { subspace } = choiceOf(settings);
  const method = isLowRank(subspace) ? withCores({ ...whole, placement: "copies" }, subspace) : whole;
  const { stepper, plan, trained } = trainingOf(settings, method, layers, settings.batchSize);
  const variables = openVariables({
    residents: [...method.tensors, ...(method.frozen ?? [])].map((tensor) => ({
      ...{ name: tensor.name, shape: tensor.shape, several: false, from: { kind: "zeros" } },
      copied: method.cored?.matrices.some(({ base }) => base === tensor.name) ?? false,
      ...(method.tensors.includes(tensor) ? { trained: trained(tensor) } : {}),
    })),
    placement: method.placement,
    training: plan,
    ...(method.cored === undefined ? {} : { cored: { ...method.cored, seed: stepper.seed } }),
    threads: 1,
  });
  const { trainables, cored } = variables;
  if (trainables === undefined) throw new Error("nothing is trained");
  return {
    ...{ stepper, plan, variables, trainables },
    /** Takes steps on losses at points. */
    driver: (losses: Driver["losses"]): Driver =>
      driving(
        { update: async (call) => trainables.update(call), refresh: async (step) => cored?.refresh(step) },
        losses,
      ),
  };
};
