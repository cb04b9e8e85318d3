import { z } from "zod";
import { ZerothError } from "../errors.js";
import type { Estimator, Update } from "../estimator/estimator.js";
import { add, constant, type Expr, input, mul, scalar, sub, substitute } from "../kernels/expr.js";
import type { Layout, Reduction } from "../kernels/program.js";
import { elementsOf } from "../model/weights.js";
import type { PerturbationName } from "../perturbation/perturbations.js";
import type { Subspace } from "../perturbation/subspace.js";

/** Named fp32 numbers that a rule reads; they are rounded to fp32 and written to the journal before a kernel sees them. */
export type Scalars = Readonly<Record<string, number>>;

/** Where to start from when the user says nothing. */
export interface Tuning {
  readonly learningRate: number;
  /** Perturbation radius ε. */
  readonly epsilon: number;
}

/** A trainable tensor, as rules that differ between tensors see it. */
export interface TensorShape {
  readonly shape: readonly number[];
  /** Index of its block, and how many there are; absent for embeddings, the last norm and the head. */
  readonly layer?: number;
  readonly layers: number;
}

/** A matrix's rows and columns; a vector is a column. */
export const sidesOf = ({ shape: [rows = 1, ...rest] }: TensorShape) => ({ rows, columns: elementsOf(rest) });

/** A state: where it starts, and how it lies over a tensor; an element of it for each weight where it does not say. */
export interface State {
  readonly initial: number;
  layout?(tensor: TensorShape): Layout;
}

/** The arithmetic of an update, written once for every platform: expressions over "weight", "g", "zz", states and scalars. */
export interface Rule {
  readonly states: Readonly<Record<string, State>>;
  /** Sums that the rule reads. */
  readonly reduce?: Readonly<Record<string, Reduction>>;
  /** New values of states that are smaller than their tensor. */
  readonly summaries?: Readonly<Record<string, Expr>>;
  /** New values of "weight" and of the other states. */
  readonly apply: Readonly<Record<string, Expr>> & { readonly weight: Expr };
  /** Noise z to direction, where states shape the perturbation. */
  readonly direction?: Expr;
  /** Where states lie in lines: steps between choices of them. */
  readonly chooseEvery?: number;
}

/** What the scalars of a step may depend on. */
export interface Moment {
  /** What the schedule gives, in fp32. */
  readonly learningRate: number;
  /** Counts from 0. */
  readonly step: number;
  /** Steps of the whole run. */
  readonly steps: number;
  /** Rows of a step. */
  readonly batchSize: number;
  readonly update: Update;
}

/** Hyperparameters that every rule takes. */
const common = {
  /** Decoupled: θ ← (1 − ηλ)·θ before the step, not on one-dimensional tensors (biases, norms). */
  weightDecay: z.number().min(0).default(0),
  /** μ: g is replaced by buf ← μ·buf + (1 − dampening)·g. */
  momentum: z.number().min(0).lt(1).default(0),
  dampening: z.number().min(0).max(1).default(0),
  /** Projected gradients are held between −clip and clip; 0: not at all. */
  clip: z.number().min(0).default(0),
};
type Common = z.output<z.ZodObject<typeof common>>;

/** 0 or 1, as hyperparameters are numbers. */
export const flag = (otherwise: 0 | 1) => z.union([z.literal(0), z.literal(1)]).default(otherwise);

/**
 * A zeroth-order optimizer: how it estimates, how it perturbs, and what it does to each weight. `g` is Σ scale·z and `zz` Σ scale·z² of the
 * noise as drawn. No loop over tensors, no random numbers, no model's name: those belong to what drives it.
 */
interface Definition<S extends z.ZodRawShape> {
  readonly name: string;
  readonly paper: string;
  /** What it is good at, in a line. */
  readonly summary: string;
  readonly formula: string;
  /** Where paper and released program differ, and what is done here. */
  readonly decisions: readonly string[];
  /** Published settings, with what they come to in this form. */
  readonly published: string;
  /** Hyperparameters besides the learning rate and ε, with their defaults; out of range is refused by name. */
  readonly options: S;
  /** Defaults of the common ones, where they are not 0. */
  readonly common?: Partial<Common>;
  /** Starting points: for adapters, and for a model's own weights. */
  readonly defaults: { readonly adapter: Tuning; readonly full: Tuning };
  /** Defaults of other settings: queries, batch size, LoRA's shape. */
  readonly preset?: Readonly<Record<string, unknown>>;
  /** The perturbations that it can learn from; the first is the one it is published with. */
  readonly noises: readonly [PerturbationName, ...PerturbationName[]];
  estimator(options: z.output<z.ZodObject<S>>): Estimator;
  /** Whether another estimator may take its own one's place. */
  readonly anyEstimator?: boolean;
  /** Where the directions lie. */
  subspace?(options: z.output<z.ZodObject<S>>): Subspace;
  rule(options: z.output<z.ZodObject<S>>): Rule;
  scalars?(options: z.output<z.ZodObject<S>>, moment: Moment): Scalars;
  /** Scalars of a tensor's own, the same in every step. */
  tensorScalars?(options: z.output<z.ZodObject<S>>, tensor: TensorShape): Scalars;
  /** What becomes of a projected gradient before it is used. */
  coefficient?(options: z.output<z.ZodObject<S>>): (projectedGradient: number) => number;
  /** The rule must stay plain SGD: momentum and weight decay are refused. */
  readonly plain?: boolean;
  /** Its scalars depend on how long the run is, which then may not change. */
  readonly horizon?: boolean;
  /** It learns nothing from a set that is trained by this method: a sentence that says why. */
  refuses?(
    options: z.output<z.ZodObject<S>>,
    method: { readonly kind: string; readonly freezeA: boolean },
  ): string | undefined;
}

/** An optimizer whose hyperparameters are chosen. */
export interface Configured {
  readonly estimator: Estimator;
  readonly subspace: Subspace;
  readonly rule: Rule;
  scalars(moment: Moment): Scalars;
  tensorScalars(tensor: TensorShape): Scalars;
  bounded(projectedGradient: number): number;
  refuses(method: { readonly kind: string; readonly freezeA: boolean }): string | undefined;
}

/** A definition closed over the type of its hyperparameters, so that a table can hold them all; H are their names. */
export interface Optimizer<H extends string = string>
  extends Pick<
    Definition<z.ZodRawShape>,
    "name" | "paper" | "summary" | "formula" | "decisions" | "published" | "defaults" | "noises"
  > {
  readonly preset: Readonly<Record<string, unknown>>;
  readonly anyEstimator: boolean;
  readonly horizon: boolean;
  /** Every hyperparameter and its default. */
  readonly hyperparameters: Readonly<Record<H, number>>;
  /** Their ranges, those left out that it refuses. */
  readonly schema: z.ZodObject;
  /** @throws ZerothError that names the hyperparameter which is unknown or out of range */
  configure(options?: Readonly<Record<string, unknown>>): Configured;
}

/** A rule that reads its gradient through a buffer. */
const withMomentum = (rule: Rule, { momentum, dampening }: Common): Rule => {
  if (momentum === 0) return rule;
  const scaled = dampening === 0 ? input("g") : mul(constant(1 - dampening), input("g"));
  const buffer = add(mul(constant(momentum), input("momentum")), scaled);
  const inputs = { g: buffer };
  const reduce = Object.entries(rule.reduce ?? {}).map(([name, reduction]) => {
    const { of = reduction.of } = substitute({ of: reduction.of }, { inputs });
    return [name, { ...reduction, of }] as const;
  });
  return {
    ...rule,
    states: { ...rule.states, momentum: { initial: 0 } },
    ...(reduce.length === 0 ? {} : { reduce: Object.fromEntries(reduce) }),
    apply: { ...(substitute(rule.apply, { inputs }) as Rule["apply"]), momentum: buffer },
  };
};

const withDecay = (rule: Rule, { weightDecay }: Common): Rule =>
  weightDecay === 0
    ? rule
    : {
        ...rule,
        apply: substitute(rule.apply, { inputs: { weight: mul(input("weight"), scalar("decay")) } }) as Rule["apply"],
      };

/** Plain SGD: θ ← θ − η·g. */
export const descend: Rule = {
  states: {},
  apply: { weight: sub(input("weight"), mul(scalar("learningRate"), input("g"))) },
};

export const defineOptimizer = <S extends z.ZodRawShape>(
  definition: Definition<S>,
): Optimizer<Extract<keyof S | keyof Common, string>> => {
  const { name, options: own, common: preset = {}, anyEstimator = false, horizon = false, plain = false } = definition;
  const schema = z.strictObject(own);
  const ownNames = Object.keys(own);
  const shared = z.strictObject(
    Object.fromEntries(
      Object.entries(common).map(([key, type]) => [key, type.unwrap().default(preset[key as keyof Common] ?? 0)]),
    ) as typeof common,
  );
  const refuse = (message: string): never => {
    throw new ZerothError(`The optimizer ${name} does not take these options.\n${message}`, { kind: "usage" });
  };
  const parse = (raw: Readonly<Record<string, unknown>>) => {
    const [mine, others] = [true, false].map((wanted) =>
      Object.fromEntries(Object.entries(raw).filter(([key]) => ownNames.includes(key) === wanted)),
    );
    const [parsed, everyone] = [schema.safeParse(mine), shared.safeParse(others)];
    const issues = [parsed, everyone].flatMap(({ error }) => error?.issues ?? []);
    if (parsed.success && everyone.success) return { options: parsed.data, all: everyone.data };
    const known = issues.some(({ code }) => code === "unrecognized_keys")
      ? `\nIt takes: ${[...ownNames, ...Object.keys(common)].join(", ")}.`
      : "";
    return refuse(issues.map(({ path, message }) => `${path.join(".") || "options"}: ${message}`).join("; ") + known);
  };
  const { options: defaults, all: sharedDefaults } = parse({});
  return {
    ...definition,
    preset: definition.preset ?? {},
    ...{ anyEstimator, horizon },
    hyperparameters: { ...(defaults as Readonly<Record<Extract<keyof S, string>, number>>), ...sharedDefaults },
    schema: z.strictObject({ ...own, ...(plain ? { clip: shared.shape.clip } : shared.shape) }),
    configure(raw = {}) {
      const { options, all } = parse(raw);
      if (plain && (all.momentum > 0 || all.weightDecay > 0))
        refuse("momentum, weightDecay: its estimator counts on plain SGD.");
      const rule = withDecay(withMomentum(definition.rule(options), all), all);
      const coefficient = definition.coefficient?.(options) ?? ((value: number) => value);
      return {
        rule,
        estimator: definition.estimator(options),
        subspace: definition.subspace?.(options) ?? { kind: "dense" },
        scalars: (moment) => ({
          ...(definition.scalars?.(options, moment) ?? { learningRate: moment.learningRate }),
          ...(all.weightDecay === 0 ? {} : { decay: 1 - moment.learningRate * all.weightDecay }),
        }),
        tensorScalars: (tensor) => ({
          ...(all.weightDecay > 0 && tensor.shape.length <= 1 ? { decay: 1 } : {}),
          ...definition.tensorScalars?.(options, tensor),
        }),
        bounded: (value) => coefficient(all.clip === 0 ? value : Math.max(-all.clip, Math.min(all.clip, value))),
        refuses: (method) => definition.refuses?.(options, method),
      };
    },
  };
};
