import type { OptimizerChoice } from "../api/types.js";
import { ZerothError } from "../errors.js";
import { type OptimizerName, optimizers } from "../optimizer/optimizers.js";

/** An optimizer that takes part. */
export interface Contender {
  readonly name: OptimizerName;
  /** Hyperparameters to choose from, with the learning rate. */
  readonly variants: readonly Omit<OptimizerChoice, "name" | "learningRate">[];
}

/** Options of an optimizer, whose name is said. */
export interface Named extends OptimizerChoice {
  readonly name: OptimizerName;
}

/** Drawn first where there is room for a few. */
const first: readonly OptimizerName[] = ["mezo", "zo-sign", "zo-adam", "hizoo", "helene", "fzoo"];

/** HiZOO's smoothing from what is published to what two variables bear, then in the released program's form. */
const curvatures: Contender["variants"] = [
  ...[1e-7, 1e-5, 1e-3].map((smoothing) => ({ hyperparameters: { smoothing } })),
  ...[1e-2, 0.3].map((smoothing) => ({ hyperparameters: { smoothing, reference: 1 } })),
];

/** Published hyperparameters are for billions of weights and thousands of steps: these are for a few of each. */
const variants: Readonly<Partial<Record<OptimizerName, Contender["variants"]>>> = {
  hizoo: curvatures,
  "hizoo-l": curvatures.filter((_, i) => i % 4 === 0),
  helene: [{}, { hyperparameters: { floor: 1e4 } }, { hyperparameters: { period: 1 } }],
  lozo: [{ hyperparameters: { refreshEvery: 10 } }],
  "lozo-m": [{ hyperparameters: { refreshEvery: 10 } }],
  subzero: [{ hyperparameters: { rank: 4, refreshEvery: 50 } }],
};

/** Why an optimizer cannot train weights of its own, if it cannot. */
const refusal = (name: OptimizerName): string | undefined =>
  optimizers[name].configure().refuses({ kind: "full", freezeA: false });

/** @throws ZerothError (usage) for a name that there is not, or an optimizer for adapters only */
const nameOf = (name: string): OptimizerName => {
  if (!Object.hasOwn(optimizers, name))
    throw new ZerothError(`There is no optimizer ${name}. There are: ${Object.keys(optimizers).join(", ")}.`, {
      kind: "usage",
    });
  const known = name as OptimizerName;
  const reason = refusal(known);
  if (reason !== undefined) throw new ZerothError(`The lab has no adapters.\n${reason}`, { kind: "usage" });
  return known;
};

/** What an optimizer does to weights that lie in no block: those that are alike here differ on models only. */
const arithmetic = (name: OptimizerName): string => {
  const { configure, preset } = optimizers[name];
  const { estimator, rule, subspace } = configure();
  const where = subspace.kind === "layers" ? { kind: "dense" } : subspace;
  return JSON.stringify([estimator.name, rule, where, preset.queries]);
};

/** Every optimizer that trains weights of its own, one of each arithmetic. */
const distinct = (): readonly OptimizerName[] => {
  const names = (Object.keys(optimizers) as OptimizerName[]).filter((name) => refusal(name) === undefined);
  const likes = names.map(arithmetic);
  return names.filter((_, i) => likes.indexOf(likes[i] ?? "") === i);
};

/**
 * The optimizers that take part: those that are named, or as many of the table as there is room for.
 *
 * @throws ZerothError (usage) for a name that there is not, or an optimizer for adapters only
 */
export const contenders = (
  named: readonly string[] | undefined,
  most = Number.POSITIVE_INFINITY,
): readonly Contender[] => {
  const names = named?.map(nameOf) ?? [...new Set([...first, ...distinct()])].slice(0, most);
  return names.map((name) => ({ name, variants: variants[name] ?? [{}] }));
};
