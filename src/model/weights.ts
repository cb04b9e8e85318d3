import { closeSync, openSync } from "node:fs";
import { messageOf, ZerothError } from "../errors.js";
import { oneLine } from "../one-line.js";
import { type Encoding, encodings } from "./encodings.js";
import { type Kept, turn } from "./kept.js";
import { fill } from "./read.js";

/** Where a tensor's bytes are and how they become fp32: plain data, so it can be posted to another thread. */
export interface TensorSource {
  readonly name: string;
  readonly shape: readonly number[];
  readonly encoding: Encoding;
  /** Real path. */
  readonly file: string;
  readonly offset: number;
  /** In bytes. */
  readonly length: number;
  /** Where the file has it otherwise than Hugging Face: `shape` is Hugging Face's, and so is what is read. */
  readonly kept?: Kept;
}

export const elementsOf = (shape: readonly number[]): number => shape.reduce((size, dim) => size * dim, 1);
/** Elements of some tensors together. */
export const elementsIn = (tensors: readonly { readonly shape: readonly number[] }[]): number =>
  tensors.reduce((sum, { shape }) => sum + elementsOf(shape), 0);

/** What is thrown where a file is shorter than a tensor of it. */
export const endsInside = ({ file, name }: Pick<TensorSource, "file" | "name">): ZerothError =>
  new ZerothError(`${file} ends inside ${oneLine(name)}. It is cut short: fetch or copy it again.`);

/** Blocks read at a time: all that is ever beside the result. */
const CHUNK_BLOCKS = 2 ** 15;

/**
 * Reads a tensor as fp32, a chunk at a time: no second copy of it is ever in memory.
 * @param out where to, if not into memory of its own: as many elements as the tensor has
 * @throws ZerothError when the file cannot be read or is shorter than it says
 */
export const readTensorSync = (
  { name, shape, encoding, file, offset, length, kept }: TensorSource,
  out: Float32Array<ArrayBuffer> = new Float32Array(elementsOf(shape)),
): Float32Array<ArrayBuffer> => {
  const { blockBytes, blockElements, decode } = encodings[encoding];
  let fd: number | undefined;
  try {
    fd = openSync(file, "r");
    const chunk = new Uint8Array(Math.min(length, CHUNK_BLOCKS * blockBytes));
    for (let done = 0; done < length; ) {
      const bytes = chunk.subarray(0, Math.min(chunk.length, length - done));
      fill(fd, bytes, offset + done, () => endsInside({ file, name }));
      const start = (done / blockBytes) * blockElements;
      decode(bytes, out.subarray(start, start + (bytes.length / blockBytes) * blockElements));
      done += bytes.length;
    }
  } catch (error) {
    if (error instanceof ZerothError) throw error;
    throw new ZerothError(`${file} cannot be read: ${messageOf(error)}.`, { cause: error });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
  if (kept !== undefined) turn(out, shape, kept, "to hub");
  return out;
};

/**
 * Reads some rows of a matrix as fp32, each multiplied by `scale`.
 * @param out as many elements as the rows have
 */
export const readRowsSync = (
  source: TensorSource,
  rows: readonly number[],
  out: Float32Array<ArrayBuffer>,
  scale = 1,
): void => {
  const [count = 1, width = 1] = source.shape;
  const length = source.length / count;
  for (const [i, row] of rows.entries()) {
    const one = { ...source, shape: [width], offset: source.offset + row * length, length };
    readTensorSync(one, out.subarray(i * width, (i + 1) * width));
  }
  if (scale !== 1) for (let i = 0; i < out.length; i++) out[i] = scale * (out[i] ?? 0);
};
