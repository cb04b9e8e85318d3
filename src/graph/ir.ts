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

/** Bytes of an element. */
export const dtypeBytes: Readonly<Record<Dtype, number>> = {
  float32: 4,
  uint8: 1,
  int8: 1,
  int32: 4,
  int64: 8,
  bool: 1,
  float16: 2,
  bfloat16: 2,
};

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
  /** In bytes; absent for the file's start. */
  readonly offset?: number | undefined;
  /** In bytes; absent for all there is. */
  readonly length?: number | undefined;
}

export interface Initializer {
  readonly name: string;
  readonly dtype: number;
  readonly shape: readonly number[];
  /** Undefined where the values are in fields of another kind (`float_data`), which are kept among the unknown ones. */
  readonly data: { readonly raw: Uint8Array } | { readonly external: External } | undefined;
  readonly unknown: Unknown;
}

/** A graph's input or output; `raw` keeps a type that is no plain tensor. An output need not have a type. */
export interface Port {
  readonly name: string;
  readonly type: { readonly dtype: number; readonly shape: readonly Dim[] } | { readonly raw: Uint8Array } | undefined;
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

/** A version of the operators of a domain; "" is ONNX's own. */
export interface Opset {
  readonly domain: string;
  readonly version: number;
  readonly unknown: Unknown;
}

export interface Model {
  readonly irVersion: number;
  readonly opsets: readonly Opset[];
  readonly graph: Graph;
  readonly unknown: Unknown;
}
