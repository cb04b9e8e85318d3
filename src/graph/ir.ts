/** Element types of tensors, with ONNX's numbers for them (onnx.proto3, TensorProto.DataType). */
export const dtypes = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  bfloat16: 16,
} as const;
export type Dtype = keyof typeof dtypes;

/** A known size, or the name of one that varies from run to run. */
export type Dim = number | string;

/** A tensor that flows through the graph. */
export interface Value {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly Dim[];
}

/** Bytes of a field that this version does not know, kept as they came: its tag and its encoded value. */
export type Unknown = readonly Uint8Array[];

export type Attribute = number | string | readonly number[] | { readonly float: number } | { readonly raw: Uint8Array };

export interface Node {
  readonly name: string;
  readonly operator: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
  readonly unknown: Unknown;
}

/** Where an initializer's bytes are when they are not in the graph: a place in a file, relative to the graph's folder. */
export interface External {
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

export interface Initializer {
  readonly name: string;
  readonly dtype: number;
  readonly shape: readonly number[];
  readonly data: { readonly raw: Uint8Array } | { readonly external: External };
  readonly unknown: Unknown;
}

/** A graph's input or output; `raw` keeps a type that is no plain tensor. */
export interface Port {
  readonly name: string;
  readonly type: { readonly dtype: number; readonly shape: readonly Dim[] } | { readonly raw: Uint8Array };
  readonly unknown: Unknown;
}

export interface Graph {
  readonly name: string;
  readonly nodes: readonly Node[];
  readonly initializers: readonly Initializer[];
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  readonly unknown: Unknown;
}

export interface Model {
  readonly irVersion: number;
  /** Operator sets by domain; "" is ONNX's own. */
  readonly opsets: Readonly<Record<string, number>>;
  readonly graph: Graph;
  readonly unknown: Unknown;
}
