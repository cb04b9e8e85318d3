import { closeSync, fstatSync } from "node:fs";
import { messageOf, ZerothError } from "../../errors.js";
import { oneLine } from "../../one-line.js";
import { type Encoding, encodings } from "../encodings.js";
import { fill, openToRead } from "../read.js";
import { elementsOf, type TensorSource } from "../weights.js";

/* GGUF (ggml's gguf.md), versions 2 and 3, little-endian: metadata, then where each tensor lies. */

export const GGUF_MAGIC = 0x46554747;
const VERSIONS: readonly number[] = [2, 3];
/* Far beyond any model's, small enough that a file which claims them costs neither time nor memory. */
const LARGEST_HEADER = 2 ** 27;
const LARGEST_LIST = 2 ** 23;
const MOST_ENTRIES = 2 ** 16;
const LARGEST_ALIGNMENT = 2 ** 16;

/** ggml's numbers of the encodings that are read. */
export const ggmlTypes: Readonly<Record<number, Encoding>> = {
  0: "F32",
  1: "F16",
  2: "Q4_0",
  3: "Q4_1",
  8: "Q8_0",
  12: "Q4_K",
  14: "Q6_K",
  30: "BF16",
};

export type GgufValue = number | bigint | boolean | string | readonly GgufValue[];
export type GgufMetadata = ReadonlyMap<string, GgufValue>;

type Bad = (what: string) => ZerothError;

/** A file read front to back, in pages; every length is checked against what is left. */
const cursor = (fd: number, size: number, bad: Bad) => {
  const PAGE = 2 ** 20;
  const decoder = new TextDecoder();
  const end = Math.min(size, LARGEST_HEADER);
  let page = new DataView(new ArrayBuffer(0));
  let pageStart = 0;
  let at = 0;
  /** Makes sure that the next bytes are in the page, and says where in it. */
  const take = (length: number): number => {
    if (length > end - at)
      throw bad(end < size ? "its header is larger than 128 MiB" : `it ends at byte ${size}, inside its header`);
    if (at + length > pageStart + page.byteLength) {
      const bytes = new Uint8Array(Math.min(Math.max(length, PAGE), end - at));
      fill(fd, bytes, at, () => bad("it ends too early"));
      page = new DataView(bytes.buffer);
      pageStart = at;
    }
    at += length;
    return at - length - pageStart;
  };
  /** A reader of one fixed-size value. */
  const value =
    <V>(length: number, get: (page: DataView, place: number) => V) =>
    (): V => {
      const place = take(length);
      return get(page, place);
    };
  const u32 = value(4, (view, place) => view.getUint32(place, true));
  const bigU64 = value(8, (view, place) => view.getBigUint64(place, true));
  const u64 = (): number => {
    const length = bigU64();
    if (length > BigInt(Number.MAX_SAFE_INTEGER)) throw bad("a length in its header is absurd");
    return Number(length);
  };
  const text = (): string => {
    const length = u64();
    const place = take(length);
    return decoder.decode(new Uint8Array(page.buffer, place, length));
  };
  /** Readers of the metadata's scalar types, by their number. */
  const scalars: Readonly<Record<number, () => GgufValue>> = {
    0: value(1, (view, place) => view.getUint8(place)),
    1: value(1, (view, place) => view.getInt8(place)),
    2: value(2, (view, place) => view.getUint16(place, true)),
    3: value(2, (view, place) => view.getInt16(place, true)),
    4: u32,
    5: value(4, (view, place) => view.getInt32(place, true)),
    6: value(4, (view, place) => view.getFloat32(place, true)),
    7: value(1, (view, place) => view.getUint8(place) !== 0),
    8: text,
    10: bigU64,
    11: value(8, (view, place) => view.getBigInt64(place, true)),
    12: value(8, (view, place) => view.getFloat64(place, true)),
  };
  const LIST = 9;
  const scalar = (type: number): (() => GgufValue) => {
    const read = scalars[type];
    if (read === undefined) throw bad(`its metadata has a value of type ${type}`);
    return read;
  };
  const metadataValue = (): GgufValue => {
    const type = u32();
    if (type !== LIST) return scalar(type)();
    const read = scalar(u32());
    const length = u64();
    if (length > LARGEST_LIST) throw bad(`its metadata has a list of ${length} values`);
    const list: GgufValue[] = [];
    while (list.length < length) list.push(read());
    return list;
  };
  return { u32, u64, text, metadataValue, place: () => at };
};

/** The file's tensors in the order of their places, each inside the file and apart from the others. */
const placed = (tensors: readonly TensorSource[], size: number, bad: Bad): readonly TensorSource[] => {
  const sorted = tensors.toSorted((a, b) => a.offset - b.offset);
  sorted.forEach(({ name, offset, length }, i) => {
    if (offset + length > size) throw bad(`${name} reaches to byte ${offset + length} and the file ends at ${size}`);
    const next = sorted[i + 1];
    if (next !== undefined && next.offset < offset + length) throw bad(`${name} and ${next.name} overlap`);
  });
  return sorted;
};

/**
 * Reads a GGUF file's metadata and where its tensors lie; none of their bytes is read. Shapes are as Hugging Face writes
 * them, rows first.
 *
 * @throws ZerothError when the file is no GGUF, is cut short, or claims impossible lengths
 */
export const readGguf = (path: string): { metadata: GgufMetadata; tensors: readonly TensorSource[] } => {
  const { fd, file } = openToRead(path);
  const bad: Bad = (what) =>
    new ZerothError(
      `${path} is not a valid GGUF file: ${oneLine(what)}.\nIt is damaged or cut short: fetch or copy it again.`,
    );
  try {
    const { size } = fstatSync(fd);
    if (size < 24) throw bad(size === 0 ? "it is empty" : `it has ${size} bytes`);
    const { u32, u64, text, metadataValue, place } = cursor(fd, size, bad);
    if (u32() !== GGUF_MAGIC) throw bad("it does not begin with GGUF");
    const version = u32();
    if (!VERSIONS.includes(version)) throw bad(`its version is ${version}; ${VERSIONS.join(" and ")} are known`);
    const [tensorCount, entryCount] = [u64(), u64()];
    if (Math.max(tensorCount, entryCount) > MOST_ENTRIES)
      throw bad(`it claims ${tensorCount} tensors and ${entryCount} entries`);
    const metadata = new Map<string, GgufValue>();
    for (let i = 0; i < entryCount; i++) metadata.set(text(), metadataValue());
    const infos = Array.from({ length: tensorCount }, () => {
      const name = text();
      const rank = u32();
      if (rank > 4) throw bad(`${name} has ${rank} dimensions`);
      const shape = Array.from({ length: rank }, u64).reverse();
      return { name, shape, type: u32(), offset: u64() };
    });
    if (new Set(infos.map(({ name }) => name)).size < infos.length) throw bad("two of its tensors have the same name");
    const alignment = Number(metadata.get("general.alignment") ?? 32);
    if (!(Number.isInteger(alignment) && alignment >= 1 && alignment <= LARGEST_ALIGNMENT)) {
      throw bad(`its alignment is ${alignment}`);
    }
    const start = Math.ceil(place() / alignment) * alignment;
    const tensors = infos.map(({ name, shape, type, offset }): TensorSource => {
      const encoding = ggmlTypes[type];
      if (encoding === undefined) {
        const known = Object.values(ggmlTypes).join(", ");
        throw new ZerothError(
          `${path}: ${oneLine(name)} is in an encoding (ggml's type ${type}) that Zeroth does not read.\nIt reads ${known}.`,
        );
      }
      const { blockBytes, blockElements } = encodings[encoding];
      const elements = elementsOf(shape);
      const row = shape.at(-1) ?? 0;
      if (!Number.isSafeInteger(elements) || row % blockElements !== 0)
        throw bad(`${name} is ${encoding} of shape [${shape}]`);
      return { name, shape, encoding, file, offset: start + offset, length: (elements / blockElements) * blockBytes };
    });
    return { metadata, tensors: placed(tensors, size, bad) };
  } catch (error) {
    if (error instanceof ZerothError) throw error;
    throw bad(messageOf(error));
  } finally {
    closeSync(fd);
  }
};
