import type { Builder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";
import type { Remember } from "./decoding.js";

/** A tensor of a model, by the name that its safetensors file has for it. */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  /** The weight of a linear layer: what adapters attach to. It is [outputs, inputs], or [inputs, outputs] where it is turned. */
  readonly linear?: boolean;
  /** The file has the transpose (GPT-2's Conv1D). */
  readonly turned?: boolean;
  /** Index of its block; absent for embeddings, the last norm and the head. */
  readonly layer?: number;
  /**
   * How the file has it, where that is no tensor of floats of its own: in blocks of few bits, or as a part of another tensor. Adapters
   * attach to it; itself it cannot be trained.
   */
  readonly stored?: "blocks" | "part";
}

/** A linear layer's module path from its weight's name. */
export const moduleOf = ({ name }: Pick<Parameter, "name">): string => name.replace(/\.weight$/, "");

/** What a family's graph is built from. `linear` is the hook by which an adapter adds its side path. */
export interface Parts {
  readonly g: Builder;
  weight(name: string): Value;
  /** Rows of a matrix [N, K], by their indices: [P, K]. */
  rows(name: string, indices: Value): Value;
  /** x [T, K] times the transpose of a matrix [N, K], plus a bias [N]: [T, N]. */
  project(name: string, x: Value, bias?: string): Value;
  /** The linear layer at a module path applied to x [T, inputs]; adds its bias if the model has one. */
  linear(module: string, x: Value): Value;
  /** What an adapter makes of a layer's output. */
  adapt?(module: string, x: Value, output: Value): Value;
  /** Present in a graph that goes on with a row: attention sees what is remembered of the tokens before. */
  readonly remember?: Remember;
  /** How many rows of equal length the tokens are of, int64 [1], in such a graph; absent where it goes on with one. */
  readonly batch?: Value;
  /** What adds a bias [N] to what its layer gives without it, [T, N], where each point has one of its own; of elements `taken` alone. */
  shift?(bias: string, taken?: Value): ((x: Value) => Value) | undefined;
  /** Puts virtual tokens among the embeddings of a sequence's tokens [T, width]. */
  virtual?(embedded: Value): Value;
  /**
   * Told a block's keys, their positions turned in, and its values, [T, keyHeads·headSize] each; gives those that every token sees before its
   * own row's, [N, P, keyHeads·headSize] each.
   */
  attend?(layer: number, own: KeysValues): KeysValues | undefined;
}

export interface KeysValues {
  readonly k: Value;
  readonly v: Value;
}

/** The graph of an architecture in pieces, so that it can be cut between two blocks. Each piece adds the graph inputs that it reads. */
export interface Pieces {
  /** Hidden states that enter the first block, [T, hidden]. Reads ids int32 [T], and the family's places. */
  embed(): Value;
  /** Block `layer` (from 0) applied to x [T, hidden]. Reads the family's places, and what attention reads. */
  block(x: Value, layer: number): Value;
  /** Hidden states that enter the head, at the taken places alone: [P, hidden]. Reads take int32 [P]. */
  last(x: Value): Value;
}

/** Heads of a layer: `heads` query heads in groups that share one of `keyHeads` keys and values, each of `headSize` elements. */
export interface Heads {
  readonly heads: number;
  readonly keyHeads: number;
  readonly headSize: number;
}

/** What a token sees of its own row. */
export interface Sight {
  /** Itself and what comes before it, or the whole row. */
  readonly causal: boolean;
  /** Only tokens whose positions are less than this far away. */
  readonly window?: number;
}

/** A graph input that says where tokens stand: [T], or [T, width]. */
export interface Place {
  readonly data: Float32Array | Int32Array;
  readonly width?: number;
}
export type Places = Readonly<Record<string, Place>>;

/** Where the tokens of a pack stand, [T] each. */
export interface Standing {
  /** On the token's own path, from 0. */
  readonly positions: Int32Array;
  /** Length of that path. */
  readonly rowLengths: Int32Array;
  /** 1 in the second text of a pair, 0 elsewhere. */
  readonly types: Int32Array;
}

/** From hidden states to logits: h·weightᵀ + bias, softly held between −cap and cap. */
export interface HeadPlan {
  /** [V, hidden]; the embedding's where they are tied. */
  readonly weight: string;
  /** [V] */
  readonly bias?: string;
  readonly cap?: number;
  /** So few rows that all logits are computed where some are asked for. */
  readonly few?: boolean;
}

/**
 * What its head's columns are, and where they are read: the token that follows (the vocabulary), the token that a mask hides (the
 * vocabulary), or the class of a whole row (classes, at its first token).
 */
export type Reading = "next" | "masked" | "class";

/** What is known of a model, whether its graph is built here or came with it. */
export interface Architecture {
  readonly parameters: readonly Parameter[];
  /** Number of blocks. */
  readonly layers: number;
  readonly reads: Reading;
  readonly contextLength: number;
  /** Modules that LoRA adapts where nothing is said: PEFT's defaults. */
  readonly targets: readonly string[];
  /** Virtual tokens before every row's own; 0 where it does not say. */
  readonly lead?: number;
  /** Path of a classifier's own layers, which came with no pretraining. */
  readonly classifier?: string;
  /** Whether PEFT takes its linear weights for [inputs, outputs], where its parameters do not say. */
  readonly fanInFanOut?: boolean;
}

/** An architecture bound to a model's configuration. */
export interface BoundFamily extends Architecture {
  /** Elements of a token's hidden state. */
  readonly width: number;
  readonly head: HeadPlan;
  /** Tokens that it has embeddings of. */
  readonly vocabulary: number;
  /** Of a classifier. */
  readonly classes?: number;
  /** What tokens see, by the name of the mask that blocks read. */
  readonly masks: Readonly<Record<string, Sight>>;
  /** Of every block's attention. */
  readonly heads: Heads;
  /** The tokens' embeddings: a matrix [V, width], and what its rows are multiplied by. */
  readonly embedding: { readonly weight: string; readonly scale?: number };
  /** Modules that a block's sublayers end with: what they give is added to the stream. */
  readonly ends: readonly string[];
  pieces(parts: Parts): Pieces;
  /** Graph inputs that say where each token stands. */
  places(standing: Standing): Places;
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
