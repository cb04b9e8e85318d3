import type { Builder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";

/** A tensor of a model, by the name that its safetensors file has for it. */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  /** The weight of a linear layer, [outputs, inputs]: what adapters attach to. */
  readonly linear?: boolean;
  /** Index of its block; absent for embeddings, the last norm and the head. */
  readonly layer?: number;
}

/** What a family's graph is built from. `linear` is the hook by which an adapter adds its side path. */
export interface Parts {
  readonly g: Builder;
  weight(name: string): Value;
  /** Rows of a matrix [N, K], by their indices: [P, K]. */
  rows(name: string, indices: Value): Value;
  /** x [T, K] times the transpose of a matrix [N, K]: [T, N]. */
  project(name: string, x: Value): Value;
  /** The linear layer at a module path applied to x [T, inputs]; adds its bias if the model has one. */
  linear(module: string, x: Value): Value;
}

/** The graph of an architecture in pieces, so that it can be cut between two blocks. Each piece adds the graph inputs that it reads. */
export interface Pieces {
  /** Hidden states that enter the first block, [T, hidden]. Reads ids int32 [T]. */
  embed(): Value;
  /** Block `layer` (from 0) applied to x [T, hidden]. Reads cos and sin [T, size/2], and what attention reads. */
  block(x: Value, layer: number): Value;
  /** Hidden states after the last norm at the taken places, [P, hidden]. Reads take int32 [P]. */
  last(x: Value): Value;
}

/** An architecture bound to a model's configuration. */
export interface BoundFamily {
  readonly parameters: readonly Parameter[];
  /** Number of blocks. */
  readonly layers: number;
  /** Elements of a token's hidden state. */
  readonly width: number;
  /** Name of the head's weight [V, hidden]; the embedding's where they are tied. */
  readonly headWeight: string;
  readonly contextLength: number;
  pieces(parts: Parts): Pieces;
  /** Rotary angles of each token from its position on its own path (and that path's length): cos and sin, [T, size/2]. */
  rotary(positions: Int32Array, rowLengths: Int32Array): { cos: Float32Array; sin: Float32Array };
}

/** Blocks `from` up to `to` (exclusive), one after the other. */
export const blocks = (pieces: Pieces, x: Value, from: number, to: number): Value =>
  Array.from({ length: to - from }, (_, i) => from + i).reduce(pieces.block, x);

/** One architecture: the `model_type`s it serves, and how a configuration and the names in the file make a bound one. */
export interface Family {
  readonly modelTypes: readonly string[];
  /** @throws ZerothError naming the field that is missing or not supported */
  bind(config: Readonly<Record<string, unknown>>, has: (name: string) => boolean, file: string): BoundFamily;
}
