import type { ProgramPlan, Trained } from "../engine/protocol.js";
import { input, mul, scalar, substitute } from "../kernels/expr.js";
import type { Layout, Program } from "../kernels/program.js";
import type { Rule } from "../optimizer/optimizer.js";
import type { Method, Trainable } from "../peft/method.js";
import { partition } from "../peft/partition.js";
import { perturbations } from "../perturbation/perturbations.js";
import { isLowRank, type Subspace } from "../perturbation/subspace.js";
import type { Stepper } from "../train/step.js";
import { choiceOf } from "./choice.js";
import type { Settings } from "./settings.js";

/** What trains a method on a model: the steps, the arithmetic, and each tensor's share of it. */
export interface Training {
  readonly stepper: Stepper;
  readonly plan: ProgramPlan;
  trained(tensor: Trainable): Trained;
}

/** The estimate of a core is c·U/r where the weights of its own are estimated by c·z: a scalar that only cores change. */
const CORE = "core";

const withCore = (rule: Rule, subspace: Subspace): Rule =>
  subspace.kind !== "lozo"
    ? rule
    : {
        ...rule,
        apply: substitute(rule.apply, { inputs: { g: mul(scalar(CORE), input("g")) } }) as Rule["apply"],
      };

/**
 * @param layers blocks of the model
 * @param trainRows rows of an epoch
 * @param masks elements that may move, by tensor, where the subspace is a stored mask
 */
export const trainingOf = (
  settings: Settings,
  method: Method,
  layers: number,
  trainRows: number,
  masks?: ReadonlyMap<string, Uint32Array>,
): Training => {
  const { configured, subspace, estimator } = choiceOf(settings);
  const { distribution, onSphere } = perturbations[settings.perturbation];
  const rule = withCore(configured.rule, subspace);
  const states = Object.entries(rule.states);
  const seed = BigInt(settings.seed);
  const program: Program = {
    noise: {
      distribution,
      ...(subspace.kind === "random" ? { mask: subspace } : {}),
      ...(subspace.kind === "magnitude" || subspace.kind === "stored" ? { plane: true } : {}),
    },
    direction: rule.direction ?? input("z"),
    apply: rule.apply,
    states: states.map(([name]) => name),
    ...(rule.reduce === undefined ? {} : { reduce: rule.reduce }),
    ...(rule.summaries === undefined ? {} : { summaries: rule.summaries }),
    ...(rule.chooseEvery === undefined ? {} : { lines: { interval: rule.chooseEvery, seed } }),
  };
  const blocks = settings.blocks === null ? undefined : partition(method.tensors, settings.blocks);
  const elements: Layout = { kind: "element" };
  return {
    plan: { program, initial: states.map(([, { initial }]) => initial), subspace, onSphere },
    stepper: {
      estimator,
      optimizer: {
        bounded: configured.bounded,
        scalars: (moment) => ({
          ...configured.scalars(moment),
          ...(subspace.kind === "lozo" ? { [CORE]: 1 } : {}),
        }),
      },
      seed,
      epsilon: settings.epsilon,
      queries: settings.queries,
      blocks: blocks === undefined ? 1 : new Set(blocks.values()).size,
      steps: settings.steps,
      batchSize: settings.batchSize,
      trainRows,
      refreshEvery: isLowRank(subspace) ? subspace.refreshEvery : 0,
    },
    trained(tensor) {
      const { name, shape, layer } = tensor;
      const seen = { shape, layers, ...(layer === undefined ? {} : { layer }) };
      const block = blocks?.get(name);
      const kept = masks?.get(name);
      return {
        columns: shape.slice(1).reduce((product, size) => product * size, 1),
        layouts: states.map(([, { layout }]) => layout?.(seen) ?? elements),
        scalars: {
          ...configured.tensorScalars(seen),
          ...(subspace.kind === "lozo" && tensor.core !== undefined ? { [CORE]: 1 / tensor.core } : {}),
        },
        ...(layer === undefined ? {} : { layer }),
        ...(block === undefined ? {} : { block }),
        ...(kept === undefined ? {} : { kept }),
      };
    },
  };
};
