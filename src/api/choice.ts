import { ZerothError } from "../errors.js";
import { blockwise } from "../estimator/blocks.js";
import type { Estimator } from "../estimator/estimator.js";
import { estimators } from "../estimator/estimators.js";
import type { Configured } from "../optimizer/optimizer.js";
import { optimizers } from "../optimizer/optimizers.js";
import { perturbations } from "../perturbation/perturbations.js";
import { isLowRank, type Subspace, type SubspaceName, subspaceOptions } from "../perturbation/subspace.js";
import type { Settings } from "./settings.js";

/** What settings choose, before there is a model: hyperparameters in their places. */
export interface Choice {
  readonly configured: Configured;
  readonly subspace: Subspace;
  readonly estimator: Estimator;
}

const refuse = (message: string): never => {
  throw new ZerothError(message, { kind: "usage" });
};

/** A subspace with its hyperparameters, some of `given`; the others. */
const subspaceOf = (
  kind: SubspaceName,
  given: Readonly<Record<string, number>>,
): { subspace: Subspace; rest: Readonly<Record<string, number>> } => {
  const schema = subspaceOptions[kind];
  const names = Object.keys(schema.shape);
  const own = Object.fromEntries(Object.entries(given).filter(([name]) => names.includes(name)));
  const rest = Object.fromEntries(Object.entries(given).filter(([name]) => !names.includes(name)));
  const parsed = schema.safeParse(own);
  if (parsed.success) return { subspace: { kind, ...parsed.data } as Subspace, rest };
  const issues = parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
  return refuse(`The subspace ${kind} does not take these options.\n${issues.join("; ")}`);
};

/** @throws ZerothError (usage) that names the hyperparameter which is unknown or out of range */
export const choiceOf = (settings: Settings): Choice => {
  const optimizer = optimizers[settings.optimizer];
  const own = settings.subspace === null ? undefined : subspaceOf(settings.subspace, settings.hyperparameters);
  const configured = optimizer.configure(own?.rest ?? settings.hyperparameters);
  const estimator = settings.estimator === null ? configured.estimator : estimators[settings.estimator];
  return {
    configured,
    subspace: own?.subspace ?? configured.subspace,
    estimator: settings.blocks === null ? estimator : blockwise(estimator as Estimator<undefined>, settings.sweep),
  };
};

/**
 * Why a combination of settings makes no sense, in a sentence; nothing where it does. Every rule is a row: what is wrong, and when.
 */
const objections = (settings: Settings, { configured, subspace }: Choice): readonly (string | false | undefined)[] => {
  const { optimizer: name, perturbation, method, methodOptions } = settings;
  const { noises, anyEstimator } = optimizers[name];
  const kinds = Object.keys(configured.rule.states);
  return [
    !noises.includes(perturbation) &&
      `--perturbation: the optimizer ${name} learns nothing from ${perturbation} noise. It takes: ${noises.join(", ")}.`,
    settings.estimator !== null &&
      !anyEstimator &&
      `--estimator: the optimizer ${name} is made for its own estimator (${configured.estimator.name}).`,
    settings.blocks !== null &&
      !anyEstimator &&
      `--blocks: the estimator of ${name} (${configured.estimator.name}) looks at all weights at once.`,
    settings.blocks === null && settings.sweep === "jacobi" && "--sweep jacobi: it is for --blocks LEVEL.",
    configured.refuses({ kind: method, freezeA: methodOptions.freezeA === true }),
    settings.perClass !== null &&
      (settings.trainRows !== null || settings.devRows !== null) &&
      "--per-class: it says how many rows are trained on and how many are dev rows; leave out --train-rows and --dev-rows.",
    subspace.kind === "stored" && settings.mask === null && "--subspace stored: the mask is a file, --mask FILE.",
    settings.mask !== null &&
      subspace.kind !== "stored" &&
      `--mask: it is for --subspace stored, not ${subspace.kind}.`,
    subspace.kind === "magnitude" &&
      name === "mezo-svrg" &&
      "mezo-svrg goes back to where the weights were, and a mask of magnitudes moves with them: take --subspace random.",
    isLowRank(subspace) &&
      !anyEstimator &&
      `--subspace ${subspace.kind}: the estimator of ${name} remembers directions of subspaces that are gone.`,
    isLowRank(subspace) &&
      settings.hyperparameters.weightDecay !== undefined &&
      settings.hyperparameters.weightDecay > 0 &&
      `weightDecay: in the subspace ${subspace.kind} weights are changed at refreshes alone, and do not decay in between.`,
    isLowRank(subspace) &&
      kinds.some((state) => state !== "momentum") &&
      `--subspace ${subspace.kind}: the states of ${name} (${kinds.join(", ")}) mean nothing in the subspace that follows; momentum is carried over.`,
    isLowRank(subspace) &&
      perturbations[perturbation].onSphere &&
      `--perturbation sphere: its length is that of all weights' noise, which the subspace ${subspace.kind} does not draw.`,
  ];
};

/** @throws ZerothError (usage): a hyperparameter out of range, or a combination that makes no sense, in one sentence */
export const checkChoice = (settings: Settings): void => {
  const found = objections(settings, choiceOf(settings)).find((objection) => typeof objection === "string");
  if (typeof found === "string") refuse(found);
};
