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
  /** The linear layer at a module path applied to x [T, inputs]; adds its bias if the model has one. */
  linear(module: string, x: Value): Value;
}

/** An architecture bound to a model's configuration. Graph inputs: ids int32 [T], cos and sin [T, size/2], mask [T, T], take int32 [P]. */
export interface BoundFamily {
  readonly parameters: readonly Parameter[];
  /** Name of the head's weight [V, hidden]; the embedding's where they are tied. */
  readonly headWeight: string;
  readonly contextLength: number;
  /** Hidden states after the last norm at the taken places: [P, hidden]. */
  hidden(parts: Parts): Value;
  /** Rotary angles of each token from its position on its own path (and that path's length): cos and sin, [T, size/2]. */
  rotary(positions: Int32Array, rowLengths: Int32Array): { cos: Float32Array; sin: Float32Array };
}

/** One architecture: the `model_type`s it serves, and how a configuration and the names in the file make a bound one. */
export interface Family {
  readonly modelTypes: readonly string[];
  /** @throws ZerothError naming the field that is missing or not supported */
  bind(config: Readonly<Record<string, unknown>>, has: (name: string) => boolean, file: string): BoundFamily;
}
