import type { Builder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";
import type { BoundFamily, KeysValues, Parameter } from "../model/family.js";
import type { LowRank } from "../perturbation/subspace.js";
import type { Cored } from "./cores.js";

/** How a trainable tensor starts. */
export type Initial =
  /** As a weight of the model: of its own name, or another one. */
  | { readonly kind: "weights"; readonly of?: string }
  | { readonly kind: "zeros" }
  /** Uniform on (−bound, bound), drawn from the run's seed under the tensor's name. */
  | { readonly kind: "uniform"; readonly bound: number }
  /** Gaussian of mean 0, drawn likewise. */
  | { readonly kind: "normal"; readonly deviation: number }
  /** Rows of a matrix of the model, each multiplied by `scale`. */
  | { readonly kind: "rows"; readonly weight: string; readonly rows: readonly number[]; readonly scale: number };

export interface Trainable {
  /** Canonical name: the one in the file that saves it. It keys the tensor's noise. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly initial: Initial;
  /** Index of its block of the model; absent for embeddings, the last norm and the head. */
  readonly layer?: number;
  /** It is a linear layer's weight, [inputs, outputs]. */
  readonly turned?: boolean;
  /** The rank of a low-rank subspace's core. */
  readonly core?: number;
}

/**
 * How perturbed weights are made: small sets in copies, so that nothing rounds; large ones in place, so that nothing is
 * held twice (the algorithm reference, section 1.4, T5 and T6).
 */
export type Placement = "copies" | "in-place";

/** What graphs call the number of points that are run side by side: tensors in copies are [N, …], and a run's tokens N packs. */
export const POINTS = "N";

/**
 * Each point's tokens apart, [N·T, width] as [N, T, width], to meet its own tensors.
 *
 * @param width a number, or int64 [1] where only a run knows it
 */
export const apart = (g: Builder, x: Value, width: number | Value): Value => {
  const rest = typeof width === "number" ? [g.constant([-1, width])] : [g.constant([-1]), width];
  return g.op("Reshape", [x, g.op("Concat", [g.size(POINTS), ...rest], { axis: 0 })]);
};

/** What merging does to one of the model's own tensors. */
export interface Merge {
  /** Tensors of the set that it reads, by name. */
  readonly from: readonly string[];
  /** Changes `weight` in place. */
  into(weight: Float32Array, ...from: readonly Float32Array[]): void;
}

/** A trainable set bound to a model's parameters. */
export interface Method {
  /** A name of the table `methods.ts`. */
  readonly kind: string;
  readonly placement: Placement;
  /** The first block that it changes; what comes before is the same at every point of a step. */
  readonly firstLayer: number;
  readonly tensors: readonly Trainable[];
  /** Tensors of its own that are not trained: they start as the others do, and are saved with them. */
  readonly frozen?: readonly Trainable[];
  /** By the names of the model's tensors that merging changes; or why there is no merged model. Absent where it is the weights themselves that are trained. */
  readonly merge?: ReadonlyMap<string, Merge> | string;
  /**
   * Adds the side path of linear layer `module` to its output `base` [N·T, outputs]; `tensor` gives the method's own tensors, [N, …].
   * Absent where a method only trains what is there.
   */
  readonly attach?: (g: Builder, module: string, x: Value, base: Value, tensor: (name: string) => Value) => Value;
  /** Puts virtual tokens among the embeddings of a sequence's tokens, [N·T, width]. */
  readonly embed?: (g: Builder, embedded: Value, tensor: (name: string) => Value) => Value;
  /** Keys and values of a block that every token sees before its own row's, [N, P, keyHeads·headSize] each. */
  readonly attend?: (g: Builder, layer: number, tensor: (name: string) => Value) => KeysValues;
  /** Adds a bias of the model that is trained, [N, outputs], to what its layer gives without it, [N·T, outputs]; `taken`: of these elements alone. */
  readonly shift?: (g: Builder, x: Value, bias: Value, taken?: Value) => Value;
  /** The model's architecture as rows meet it with this set: their positions, and what of the context is left to them. */
  readonly family?: (family: BoundFamily) => BoundFamily;
  /** Tokens whose keys and values, run through the model as a row, are what the set starts as: a matrix [tokens, layers·2·keyHeads·headSize] of this name. */
  readonly start?: { readonly name: string; readonly ids: readonly number[] };
  /** Elements of the model's tensors that the set is about, where it is about some. */
  readonly indices?: ReadonlyMap<string, Uint32Array>;
  /** Tells the set from others with tensors of the same names and shapes. */
  readonly stamp?: string;
  /** Adds to the product of x and a matrix of the model, [T, rows]. */
  readonly product?: (g: Builder, name: string, x: Value, beside: Value, tensor: (name: string) => Value) => Value;
  /** Adds to rows of a matrix of the model, [P, columns]. */
  readonly rows?: (g: Builder, name: string, indices: Value, beside: Value, tensor: (name: string) => Value) => Value;
  /** Matrices that move in a low-rank subspace; `bySide` where the graph has side paths for them. */
  readonly cored?: { readonly subspace: LowRank; readonly matrices: readonly Cored[]; readonly bySide: boolean };
}

/** PEFT matches a module whose path is the target or ends with ".target". */
export const endsWith = (module: string, target: string): boolean => module === target || module.endsWith(`.${target}`);

/** The linear layers' weights. */
export const linearsOf = (parameters: readonly Parameter[]): readonly Parameter[] =>
  parameters.filter((parameter) => parameter.linear === true && parameter.shape.length === 2);

/** The lowest block among some tensors or modules; 0 where one is in no block (an embedding comes before all of them). */
export const firstLayerOf = (parts: readonly { readonly layer?: number | undefined }[]): number =>
  parts.length === 0 ? 0 : Math.min(...parts.map(({ layer = 0 }) => layer));
