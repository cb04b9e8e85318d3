import { ZerothError } from "../errors.js";
import type { Key } from "../random/key.js";
import type { Distribution } from "../random/noise.js";
import type { Slab } from "./arena.js";
import { readsOf } from "./compile.js";
import type { Expr } from "./expr.js";

/** Version of the arithmetic defined here and in random/: equal versions give equal bits. A journal records it. */
export const KERNEL_VERSION = 2;

/** How a key becomes noise z. What a mask leaves out is zero, in perturbations and in sums alike. */
export interface Noise {
  readonly distribution: Distribution;
  /**
   * Leaves out each element with probability `sparsity`: where a word of the stream `mask`, drawn under the key's step rounded down to
   * a multiple of `interval`, is below sparsity·2³².
   */
  readonly mask?: { readonly sparsity: number; readonly interval: number };
  /** Leaves out what is not in the job's plane. */
  readonly plane?: boolean;
}

/** How a state's values lie over the elements of a tensor, a matrix of rows end to end. */
export type Layout =
  | { readonly kind: "element" }
  /** One value for `size` neighbours: a row where that is a row's length, the whole tensor where it is all. */
  | { readonly kind: "chunk"; readonly size: number }
  | { readonly kind: "column" }
  /** Values for the elements of `count` rows or columns, which are chosen anew every `Program.lines.interval` steps, and are then 0. */
  | { readonly kind: "lines"; readonly axis: "row" | "column"; readonly count: number };

/** A sum that a rule reads, over the elements that share a value of state `like`. */
export interface Reduction {
  readonly of: Expr;
  readonly like: string;
  /** Divided by the number of those elements. */
  readonly mean?: boolean;
}

/** What is compiled once a run. */
export interface Program {
  readonly noise: Noise;
  /** z → direction; may read "z", "weight" as it is when the operation runs, and states. */
  readonly direction: Expr;
  /** Sums over "weight", "g", "zz", states and scalars, as they are before the rule. */
  readonly reduce?: Readonly<Record<string, Reduction>>;
  /** New values of states that lie in chunks or columns, over states and sums of the same layout, and scalars. */
  readonly summaries?: Readonly<Record<string, Expr>>;
  /** New values of "weight" and of other states; may read "weight", "g", "zz", states (summaries are new), and any scalars. */
  readonly apply: Readonly<Record<string, Expr>>;
  /** Names of the states, in the order of `Job.states`. */
  readonly states: readonly string[];
  /** Where states lie in lines: how often they are chosen, and by which seed. "selected" is then 1 on them and 0 elsewhere. */
  readonly lines?: { readonly interval: number; readonly seed: bigint };
}

/** `scale` times the noise that `key` draws. */
export interface Term {
  readonly key: Key;
  readonly scale: number;
}

/**
 * One operation: a fixed sequence of fp32 operations on each element, however tensors are cut into tiles, divided between threads, and
 * operations grouped into jobs. Scales and scalars are rounded to fp32 first; fl(·) rounds to fp32.
 * - perturb: weight ← fl(weight + fl(scale · direction(z)))
 * - update: g = Σ scaleᵢ·zᵢ, summed in order: fl(scale₀·z₀), then fl(g + fl(scaleᵢ·zᵢ)); zz = Σ scaleᵢ·fl(zᵢ·zᵢ) likewise; an empty
 *   sum is 0. Then the program's sums (float64, in the order of elements, rounded once), its summaries, and its `apply`.
 * - mark: the plane is where |weight| ≤ threshold
 * - norm: the sum of the squares of noise, float64 in the order of elements, and how many are not 0 go to `Tensor.total`
 */
export type Op =
  | { readonly kind: "perturb"; readonly key: Key; readonly scale: number }
  | {
      readonly kind: "update";
      readonly gradient: readonly Term[];
      readonly curvature: readonly Term[];
      readonly scalars: Readonly<Record<string, number>>;
      /** Counts from 0. */
      readonly step: number;
    }
  | { readonly kind: "mark" }
  | { readonly kind: "norm"; readonly key: Key };

/** A tensor with what belongs to it, all in one arena. */
export interface Tensor {
  /** `tensorId` of its name. */
  readonly id: bigint;
  readonly weight: Slab;
  /** Length of a row; 1 for vectors, whose elements are rows. */
  readonly columns: number;
  /** One for each of the program's states, as long as its layout says. */
  readonly states: readonly Slab[];
  readonly layouts: readonly Layout[];
  /** A bit an element, in 32-bit words, lowest first; where the program's noise has a plane. */
  readonly plane?: Slab;
  /** The largest magnitude in the plane, where it is marked. */
  threshold?: number;
  /** Room for two float64; where norms are asked for. */
  readonly total?: Slab;
}

/** Operations on one tensor, in place, done in few passes over its memory: one where nothing is summed. */
export interface Job {
  readonly tensor: Tensor;
  readonly ops: readonly Op[];
}

/** Does jobs, one after another, on the calling thread. */
export interface Walker {
  walk(job: Job): void;
}

/** Elements of a state. */
export const lengthOf = (layout: Layout, length: number, columns: number): number => {
  const lengths = {
    element: () => length,
    chunk: ({ size }: Extract<Layout, { kind: "chunk" }>) => Math.ceil(length / size),
    column: () => columns,
    lines: ({ axis, count }: Extract<Layout, { kind: "lines" }>) =>
      count * (axis === "row" ? columns : length / columns),
  };
  return lengths[layout.kind](layout as never);
};

const requireKnown = (what: string, names: readonly string[], known: readonly string[]): void => {
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new ZerothError(`${what} "${unknown}", which is none of: ${known.join(", ") || "(nothing)"}.`);
  }
};

/** @throws ZerothError that says what an expression of the program reads or writes and cannot */
export const checkProgram = ({ direction, reduce = {}, summaries = {}, apply, states, lines }: Program): void => {
  const perturbation = readsOf({ direction });
  const sums = Object.keys(reduce);
  const extra = lines === undefined ? [] : ["selected"];
  requireKnown("The perturbation reads", perturbation.inputs, ["z", "weight", ...states]);
  requireKnown("The perturbation reads the scalar", perturbation.scalars, []);
  const summed = Object.fromEntries(Object.entries(reduce).map(([name, { of }]) => [name, of]));
  requireKnown("A sum reads", readsOf(summed).inputs, ["weight", "g", "zz", ...states, ...extra]);
  requireKnown(
    "A sum is laid out like",
    Object.values(reduce).map(({ like }) => like),
    states,
  );
  requireKnown("A summary reads", readsOf(summaries).inputs, [...states, ...sums]);
  requireKnown("The update rule reads", readsOf(apply).inputs, ["weight", "g", "zz", ...states, ...extra]);
  requireKnown("The update rule writes", [...Object.keys(apply), ...Object.keys(summaries)], ["weight", ...states]);
};
