import { writeFileAtomic } from "../../atomic.js";
import { encodings } from "../encodings.js";
import type { TensorToWrite } from "../safetensors.js";
import { elementsOf } from "../weights.js";
import { GGUF_MAGIC, type GgufMetadata, type GgufValue, ggmlTypes } from "./file.js";

/* GGUF (ggml's gguf.md), version 3, little-endian. */

const VERSION = 3;
const ALIGNMENT = 32;
const LIST = 9;

const bytesOf = (length: number, put: (view: DataView) => void): Uint8Array => {
  const bytes = new Uint8Array(length);
  put(new DataView(bytes.buffer));
  return bytes;
};
const u32 = (value: number) => bytesOf(4, (view) => view.setUint32(0, value, true));
const u64 = (value: number) => bytesOf(8, (view) => view.setBigUint64(0, BigInt(value), true));
const text = (value: string): Uint8Array => {
  const content = Buffer.from(value);
  return Buffer.concat([u64(content.length), content]);
};

/** The metadata's scalar types that are written: their numbers, and their bytes. */
const scalars = {
  u32: { type: 4, encode: (value: GgufValue) => u32(Number(value)) },
  i32: { type: 5, encode: (value: GgufValue) => bytesOf(4, (view) => view.setInt32(0, Number(value), true)) },
  f32: { type: 6, encode: (value: GgufValue) => bytesOf(4, (view) => view.setFloat32(0, Number(value), true)) },
  bool: { type: 7, encode: (value: GgufValue) => Uint8Array.of(value === true ? 1 : 0) },
  string: { type: 8, encode: (value: GgufValue) => text(String(value)) },
} as const;

/** One entry of the metadata; an array of values is a list of that type. */
export type GgufEntry = readonly [key: string, type: keyof typeof scalars, value: GgufValue];

const encodeEntry = ([key, name, value]: GgufEntry): Uint8Array => {
  const { type, encode } = scalars[name];
  if (!Array.isArray(value)) return Buffer.concat([text(key), u32(type), encode(value)]);
  const list: readonly GgufValue[] = value;
  return Buffer.concat([text(key), u32(LIST), u32(type), u64(list.length), ...list.map(encode)]);
};

/** Entries as the reader gives them. */
export const metadataOf = (entries: readonly GgufEntry[]): GgufMetadata =>
  new Map(entries.map(([key, , value]) => [key, value]));

const typeNumber = (dtype: TensorToWrite["dtype"]): number => {
  const found = Object.entries(ggmlTypes).find(([, encoding]) => encoding === dtype);
  if (found === undefined) throw new Error(`GGUF has no type for ${dtype}`);
  return Number(found[0]);
};

const sizeOf = ({ shape, dtype }: TensorToWrite): number => elementsOf(shape) * encodings[dtype].blockBytes;
const aligned = (place: number): number => Math.ceil(place / ALIGNMENT) * ALIGNMENT;

/**
 * Writes a GGUF file: tensors in the order given, one in memory at a time, whole or not at all. Shapes are rows first, as
 * Hugging Face has them. Equal contents give equal bytes.
 *
 * @throws ZerothError when the disk is full
 */
export const writeGguf = async (
  path: string,
  entries: readonly GgufEntry[],
  tensors: readonly TensorToWrite[],
): Promise<void> => {
  let at = 0;
  const infos = tensors.map((tensor) => {
    const { name, shape, dtype } = tensor;
    const dims = [...shape].reverse().map(u64);
    const info = Buffer.concat([text(name), u32(dims.length), ...dims, u32(typeNumber(dtype)), u64(at)]);
    at = aligned(at + sizeOf(tensor));
    return info;
  });
  const head = [u32(GGUF_MAGIC), u32(VERSION), u64(tensors.length), u64(entries.length)];
  const header = Buffer.concat([...head, ...entries.map(encodeEntry), ...infos]);
  const chunks = async function* () {
    yield header;
    yield new Uint8Array(aligned(header.length) - header.length);
    for (const tensor of tensors) {
      const data = await tensor.bytes();
      let length = 0;
      for await (const piece of data instanceof Uint8Array ? [data] : data) {
        length += piece.length;
        yield piece;
      }
      if (length !== sizeOf(tensor)) throw new RangeError(`${tensor.name}: ${length} bytes`);
      yield new Uint8Array(aligned(length) - length);
    }
  };
  await writeFileAtomic(path, chunks());
};
