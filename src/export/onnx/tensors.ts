import type { Dtype, External } from "../../graph/ir.js";
import { encodings, type WritableEncoding, writers } from "../../model/encodings.js";
import type { BoundFamily } from "../../model/family.js";
import { elementsOf } from "../../model/weights.js";

/** A tensor's place in the file of weights. */
export interface Stored {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly external: External & { readonly offset: number; readonly length: number };
}

/** A tensor of the graph, and its bytes when their turn comes. */
interface Made {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly length: number;
  bytes(): Promise<Uint8Array>;
}

const dtypeOf: Readonly<Record<WritableEncoding, Dtype>> = { F32: "float32", F16: "float16", BF16: "bfloat16" };

/** A row for each position that the model knows, of all that says where a token stands. */
const tablesOf = (family: BoundFamily): readonly Made[] => {
  const count = family.contextLength;
  const standing = {
    positions: Int32Array.from({ length: count }, (_, position) => position),
    rowLengths: new Int32Array(count).fill(count),
    types: new Int32Array(count),
  };
  return Object.entries(family.places(standing)).map(([name, { data, width }]): Made => {
    const isFloat = data instanceof Float32Array;
    const values = isFloat ? data : BigInt64Array.from(data, BigInt);
    return {
      name,
      dtype: isFloat ? "float32" : "int64",
      shape: width === undefined ? [count] : [count, width],
      length: values.byteLength,
      bytes: async () => new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
    };
  });
};

/** Pages: what begins one can be mapped. */
const ALIGNMENT = 4096;

/** Where every tensor of a model's graph will lie in a file, and the file's bytes in order. */
export const tensorFile = (
  family: BoundFamily,
  read: (name: string) => Promise<Float32Array>,
  encodingOf: (name: string) => WritableEncoding,
  location: string,
): { stored: ReadonlyMap<string, Stored>; chunks: () => AsyncGenerator<Uint8Array>; size: number } => {
  const weights = family.parameters.map(({ name, shape }): Made => {
    const encoding = encodingOf(name);
    return {
      name,
      dtype: dtypeOf[encoding],
      shape,
      length: elementsOf(shape) * encodings[encoding].blockBytes,
      bytes: async () => writers[encoding](await read(name)),
    };
  });
  const made = [...tablesOf(family), ...weights];
  let size = 0;
  const stored = new Map<string, Stored>();
  for (const { name, dtype, shape, length } of made) {
    stored.set(name, { dtype, shape, external: { location, offset: size, length } });
    size = Math.ceil((size + length) / ALIGNMENT) * ALIGNMENT;
  }
  const chunks = async function* () {
    for (const { length, bytes } of made) {
      yield await bytes();
      yield new Uint8Array(Math.ceil(length / ALIGNMENT) * ALIGNMENT - length);
    }
  };
  return { stored, chunks, size };
};
