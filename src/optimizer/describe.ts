import { z } from "zod";
import { estimators } from "../estimator/estimators.js";
import { lengthOf } from "../kernels/program.js";
import { elementsOf } from "../model/weights.js";
import { withCores } from "../peft/cores.js";
import { fullMethod } from "../peft/full.js";
import { type MethodName, methodNames } from "../peft/methods.js";
import type { PerturbationName } from "../perturbation/perturbations.js";
import { isLowRank, type Subspace } from "../perturbation/subspace.js";
import type { Configured, Tuning } from "./optimizer.js";
import { type OptimizerName, optimizers } from "./optimizers.js";

export interface HyperparameterDescription {
  readonly name: string;
  readonly default: number;
  /** In words: "at least 0, below 1"; empty for any number. */
  readonly range: string;
}

/** What there is to say about an optimizer, with its hyperparameters at their defaults. */
export interface OptimizerDescription {
  readonly name: OptimizerName;
  readonly paper: string;
  /** Where the paper is. */
  readonly link: string;
  /** What it is good at. */
  readonly summary: string;
  /** Its arithmetic, a line each. */
  readonly formula: readonly string[];
  /** Loss evaluations a step, by its queries q: "2q". */
  readonly evaluations: string;
  /** Their number by default; the mean of a long run where steps differ. */
  readonly defaultEvaluations: number;
  readonly defaultQueries: number;
  /**
   * Bytes that it keeps from step to step for each trained weight of an m × n matrix, besides the weight: states, masks, and factors of
   * subspaces. "4/n + 4/m" is four bytes a row and four a column.
   */
  readonly stateBytes: string;
  readonly states: readonly string[];
  readonly estimator: string;
  /** Estimators that may take the place of its own. */
  readonly otherEstimators: readonly string[];
  readonly subspace: Subspace;
  /** Perturbations that it can learn from, its own first. */
  readonly perturbations: readonly PerturbationName[];
  readonly hyperparameters: readonly HyperparameterDescription[];
  /** Trainable sets that it learns from. */
  readonly methods: readonly MethodName[];
  /** Where to start from: for adapters, and for a model's own weights. */
  readonly defaults: { readonly adapter: Tuning; readonly full: Tuning };
  /** Its own defaults of other settings, by their names. */
  readonly preset: Readonly<Record<string, unknown>>;
  /** Where paper and released program differ, and what is done here. */
  readonly decisions: readonly string[];
  readonly published: string;
}

type Schema = z.core.JSONSchema.JSONSchema;

/** What a whole number has for its bounds where it has none. */
const UNBOUNDED = Number.MAX_SAFE_INTEGER;

const rangeOf = (type: Schema): string => {
  const { anyOf, minimum = -UNBOUNDED, exclusiveMinimum, maximum = UNBOUNDED, exclusiveMaximum } = type;
  if (anyOf !== undefined)
    return anyOf.flatMap((one) => (typeof one === "object" ? String(one.const) : [])).join(" or ");
  return [
    ...(type.type === "integer" ? ["whole number"] : []),
    ...(minimum > -UNBOUNDED ? [`at least ${minimum}`] : []),
    ...(exclusiveMinimum === undefined ? [] : [`above ${exclusiveMinimum}`]),
    ...(maximum < UNBOUNDED ? [`at most ${maximum}`] : []),
    ...(exclusiveMaximum === undefined ? [] : [`below ${exclusiveMaximum}`]),
  ].join(", ");
};

const hyperparametersOf = (schema: z.ZodObject): readonly HyperparameterDescription[] =>
  Object.entries(z.toJSONSchema(schema).properties ?? {}).flatMap(([name, type]) =>
    typeof type === "object" ? [{ name, default: Number(type.default), range: rangeOf(type) }] : [],
  );

/** What a matrix of m × n may need, and what that leaves for one of its weights. */
const measures: readonly { of(m: number, n: number): number; over: string }[] = [
  { of: (m, n) => m * n, over: "" },
  { of: (m) => m, over: "n" },
  { of: (_, n) => n, over: "m" },
  { of: Math.max, over: "min(m,n)" },
  { of: Math.min, over: "max(m,n)" },
  { of: () => 1, over: "mn" },
];
/** A tall and a wide matrix, larger than any rank, of sides that are primes: what grows with one measure grows with no other. */
const matrices = [
  [40_009, 20_011],
  [30_011, 50_021],
] as const;

/** Bytes besides the weights of one matrix of m × n, item by item. */
const bytesOf = ({ rule, subspace }: Configured, m: number, n: number): readonly number[] => {
  const whole = fullMethod([{ name: "matrix", shape: [m, n] }]);
  const { tensors, frozen = [] } = isLowRank(subspace) ? withCores(whole, subspace) : whole;
  const factors = [...tensors, ...frozen].filter(({ name }) => name !== "matrix");
  const states = tensors.flatMap((tensor) =>
    Object.values(rule.states).map(({ layout }) =>
      lengthOf(
        layout?.({ ...tensor, layers: 1 }) ?? { kind: "element" },
        elementsOf(tensor.shape),
        tensor.shape[1] ?? 1,
      ),
    ),
  );
  const plane = subspace.kind === "magnitude" || subspace.kind === "stored" ? [(m * n) / 8] : [];
  return [...[...states, ...factors.map(({ shape }) => elementsOf(shape))].map((numbers) => 4 * numbers), ...plane];
};

/** Bytes and what they are divided by: "4", "1/8", "4/n". */
const termOf = (bytes: number, over: string): string => {
  if (over !== "") return `${bytes}/${over}`;
  return bytes < 1 ? `1/${1 / bytes}` : String(bytes);
};

const stateBytesOf = (configured: Configured): string => {
  const [tall, wide] = matrices;
  const large = bytesOf(configured, ...wide);
  const items = bytesOf(configured, ...tall).map((bytes, i) => {
    const found = measures.find(({ of }) => bytes / of(...tall) === (large[i] ?? 0) / of(...wide));
    // A defect: a layout that no measure is for.
    if (found === undefined) throw new RangeError(`${bytes} bytes of a matrix of ${tall.join(" × ")}`);
    return { over: found.over, bytes: bytes / found.of(...tall) };
  });
  const terms = measures.flatMap(({ over }) => {
    const like = items.filter((item) => item.over === over);
    return like.length === 0
      ? []
      : [
          termOf(
            like.reduce((sum, { bytes }) => sum + bytes, 0),
            over,
          ),
        ];
  });
  return terms.join(" + ") || "0";
};

/** Describes an optimizer from what defines it. */
export const describeOptimizer = (name: OptimizerName): OptimizerDescription => {
  const optimizer = optimizers[name];
  const { paper, summary, decisions, published, defaults, preset, noises } = optimizer;
  const configured = optimizer.configure();
  const { estimator, subspace, rule } = configured;
  const queries = Number(preset.queries ?? 1);
  const freezeA = preset.freezeA === true;
  return {
    ...{ name, paper, link: `https://arxiv.org/abs/${paper.replace("arXiv ", "")}`, summary },
    formula: optimizer.formula.split(/;\s{2,}/),
    evaluations: estimator.cost,
    defaultEvaluations: estimator.evaluations(queries, 1),
    defaultQueries: queries,
    stateBytes: stateBytesOf(configured),
    states: Object.keys(rule.states),
    estimator: estimator.name,
    otherEstimators: optimizer.anyEstimator ? Object.keys(estimators).filter((other) => other !== estimator.name) : [],
    ...{ subspace, perturbations: noises, hyperparameters: hyperparametersOf(optimizer.schema) },
    methods: methodNames.filter((kind) => configured.refuses({ kind, freezeA }) === undefined),
    ...{ defaults, preset, decisions, published },
  };
};
