import { closeSync, fstatSync } from "node:fs";
import { z } from "zod";
import { writeFileAtomic } from "../atomic.js";
import { messageOf, ZerothError } from "../errors.js";
import { oneLine } from "../one-line.js";
import { type Encoding, encodings, type WritableEncoding } from "./encodings.js";
import { fill, openToRead } from "./read.js";
import { elementsOf, type TensorSource } from "./weights.js";

/* The safetensors format: u64 length of a JSON header, the header, then the tensors' bytes. */
const LARGEST_HEADER = 100e6;
export const weightTypes = ["F32", "F16", "BF16"] as const;
/** What a file may hold: weights, or the numbers of elements. */
const contents = { weights: weightTypes, indices: ["I32"] as const };

const count = z.int().min(0);
const entrySchema = z.strictObject({ dtype: z.string(), shape: z.array(count), data_offsets: z.tuple([count, count]) });

/** Reads exactly `length` bytes at `offset`. */
const readExactly = (fd: number, offset: number, length: number): Uint8Array => {
  const bytes = new Uint8Array(length);
  fill(fd, bytes, offset, () => new Error("the file ends too early"));
  return bytes;
};

/**
 * Reads the header of a safetensors file and checks every tensor of it: inside the file, no overlaps, size as dtype and shape say.
 *
 * @param onOther told the tensors of other types, which are then left out
 * @returns the tensors in the order of their places; none of their bytes is read
 * @throws ZerothError that names the file and the tensor
 */
export const readSafetensorsHeader = (
  path: string,
  content: keyof typeof contents = "weights",
  onOther?: (name: string, dtype: string) => void,
): readonly TensorSource[] => {
  const dtypes: readonly Encoding[] = contents[content];
  const { fd, file } = openToRead(path);
  const bad = (what: string): ZerothError =>
    new ZerothError(
      `${path} is not a valid safetensors file: ${oneLine(what)}.\nIt is damaged or cut short: fetch or copy it again.`,
    );
  try {
    const { size } = fstatSync(fd);
    if (size < 8) throw bad(size === 0 ? "it is empty" : "it is shorter than its own length field");
    const head = new DataView(readExactly(fd, 0, 8).buffer);
    const length = head.getBigUint64(0, true);
    if (length > BigInt(size - 8)) throw bad(`its header claims ${length} bytes and the file has ${size}`);
    if (length > BigInt(LARGEST_HEADER)) throw bad(`its header of ${length} bytes is larger than the format allows`);
    const dataStart = 8 + Number(length);
    let json: unknown;
    try {
      json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(readExactly(fd, 8, Number(length))));
    } catch (error) {
      throw bad(`its header is not JSON (${messageOf(error).slice(0, 80)})`);
    }
    if (typeof json !== "object" || json === null || Array.isArray(json)) throw bad("its header is not an object");
    const tensors = Object.entries(json)
      .filter(([name]) => name !== "__metadata__")
      .flatMap(([name, value]): readonly TensorSource[] => {
        const parsed = entrySchema.safeParse(value);
        if (!parsed.success) throw bad(`the entry of ${name} is malformed (${parsed.error.issues[0]?.message})`);
        const {
          dtype,
          shape,
          data_offsets: [start, end],
        } = parsed.data;
        if (end < start || dataStart + end > size)
          throw bad(`${name} lies at bytes ${start} to ${end}, past the file's end`);
        const encoding = dtypes.find((known) => known === dtype);
        if (encoding === undefined) {
          onOther?.(name, dtype);
          if (onOther !== undefined) return [];
          throw new ZerothError(
            `${path}: ${oneLine(`${name} has dtype ${dtype}`)}. Zeroth reads ${dtypes.join(", ")}.`,
          );
        }
        const expected = elementsOf(shape) * encodings[encoding].blockBytes;
        if (end - start !== expected)
          throw bad(`${name} is ${dtype} [${shape}], ${expected} bytes, but takes ${end - start}`);
        return [{ name, shape, encoding, file, offset: dataStart + start, length: end - start }];
      })
      .sort((a, b) => a.offset - b.offset || a.length - b.length);
    tensors.forEach((tensor, i) => {
      const before = tensors[i - 1];
      if (before !== undefined && tensor.offset < before.offset + before.length)
        throw bad(`${before.name} and ${tensor.name} overlap`);
    });
    return tensors;
  } catch (error) {
    if (error instanceof ZerothError) throw error;
    throw bad(messageOf(error));
  } finally {
    closeSync(fd);
  }
};

export interface TensorToWrite {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: WritableEncoding | "I32";
  /** Its bytes, whole or a piece at a time, asked for when their turn comes. */
  bytes(): Promise<Uint8Array> | Uint8Array | AsyncIterable<Uint8Array>;
}

/** Data starts at a multiple of this, so that the runtime can map fp32 where it lies. */
const ALIGNMENT = 64;

/**
 * Writes a safetensors file: tensors by name, one in memory at a time, whole or not at all. Equal tensors give equal bytes.
 * @throws ZerothError when the disk is full
 */
export const writeSafetensors = async (
  path: string,
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>> = { format: "pt" },
): Promise<void> => {
  const sorted = [...tensors].sort((a, b) => (a.name < b.name ? -1 : 1));
  let at = 0;
  const header: Record<string, unknown> = { __metadata__: metadata };
  for (const { name, shape, dtype } of sorted) {
    const end = at + elementsOf(shape) * encodings[dtype].blockBytes;
    header[name] = { dtype, shape, data_offsets: [at, end] };
    at = end;
  }
  const text = Buffer.from(JSON.stringify(header));
  const padded = Math.ceil((8 + text.length) / ALIGNMENT) * ALIGNMENT - 8;
  const chunks = async function* () {
    const length = new Uint8Array(8);
    new DataView(length.buffer).setBigUint64(0, BigInt(padded), true);
    yield length;
    yield Buffer.concat([text, Buffer.alloc(padded - text.length, " ")]);
    for (const { name, shape, dtype, bytes } of sorted) {
      const data = await bytes();
      let length = 0;
      for await (const piece of data instanceof Uint8Array ? [data] : data) {
        length += piece.length;
        yield piece;
      }
      if (length !== elementsOf(shape) * encodings[dtype].blockBytes) throw new RangeError(`${name}: ${length} bytes`);
    }
  };
  await writeFileAtomic(path, chunks());
};
