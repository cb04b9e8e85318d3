import { ZerothError } from "../errors.js";

/*
 * The protobuf wire format (protobuf.dev/programming-guides/encoding): fields of (number, wire type, value). Reading hands out
 * views into the given bytes, so that gigabytes of weights are never copied; writing collects chunks.
 */

export interface Field {
  readonly number: number;
  /** 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes. */
  readonly wire: number;
  /** The value of a varint. */
  readonly value: bigint;
  /** The bytes of the value (of a length-delimited field, without its length). */
  readonly bytes: Uint8Array;
  /** Tag and value as they came. */
  readonly raw: Uint8Array;
}

export const malformed = (what: string): ZerothError =>
  new ZerothError(`Not a valid ONNX file: ${what}. The file is damaged or cut short.`);

const varintAt = (bytes: Uint8Array, start: number): { value: bigint; end: number } => {
  let value = 0n;
  for (let i = 0; i < 10; i++) {
    const byte = bytes[start + i];
    if (byte === undefined) throw malformed("a number runs past the end");
    value |= BigInt(byte & 0x7f) << BigInt(7 * i);
    if (byte < 0x80) return { value: BigInt.asUintN(64, value), end: start + i + 1 };
  }
  throw malformed("a number is longer than ten bytes");
};

const fixed: Readonly<Record<number, number>> = { 1: 8, 5: 4 };

/**
 * The fields of a message, in order.
 * @throws ZerothError when a length or a tag cannot be right
 */
export function* fields(bytes: Uint8Array): Generator<Field> {
  for (let at = 0; at < bytes.length; ) {
    const tag = varintAt(bytes, at);
    const number = Number(tag.value >> 3n);
    const wire = Number(tag.value & 7n);
    if (number < 1 || number > 0x1fffffff) throw malformed(`field number ${number}`);
    let start = tag.end;
    let end: number;
    let value = 0n;
    if (wire === 0) ({ value, end } = varintAt(bytes, start));
    else if (wire === 2) {
      const length = varintAt(bytes, start);
      start = length.end;
      if (length.value > BigInt(bytes.length - start)) throw malformed(`field ${number} is longer than the file`);
      end = start + Number(length.value);
    } else {
      const size = fixed[wire];
      if (size === undefined) throw malformed(`wire type ${wire}`);
      end = start + size;
      if (end > bytes.length) throw malformed(`field ${number} runs past the end`);
    }
    yield { number, wire, value, bytes: bytes.subarray(start, end), raw: bytes.subarray(at, end) };
    at = end;
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export const textOf = (bytes: Uint8Array): string => {
  try {
    return utf8.decode(bytes);
  } catch {
    throw malformed("a name is not UTF-8");
  }
};

/** A signed 64-bit varint as a number, rounded where a number cannot hold it. */
export const intOf = (value: bigint): number => Number(BigInt.asIntN(64, value));

/** Repeated int64: one varint, or packed into a length-delimited field. */
export const intsOf = (field: Field): number[] => {
  if (field.wire === 0) return [intOf(field.value)];
  const out: number[] = [];
  for (let at = 0; at < field.bytes.length; ) {
    const { value, end } = varintAt(field.bytes, at);
    out.push(intOf(value));
    at = end;
  }
  return out;
};

/** Repeated float: one four-byte value, or packed. */
export const floatsOf = ({ bytes }: Field): number[] => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: Math.floor(bytes.length / 4) }, (_, i) => view.getFloat32(4 * i, true));
};

/** Chunks of an encoded message, joined once at the end. */
export type Chunks = readonly Uint8Array[];

/** Most numbers of a graph are small; their bytes are made once. */
const oneByte = Array.from({ length: 128 }, (_, value) => Uint8Array.of(value));

const varint = (value: bigint | number): Uint8Array => {
  const known = typeof value === "number" ? oneByte[value] : undefined;
  if (known !== undefined) return known;
  let rest = BigInt.asUintN(64, BigInt(value));
  const out: number[] = [];
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    out.push(rest === 0n ? low : low | 0x80);
  } while (rest !== 0n);
  return Uint8Array.from(out);
};

const tag = (number: number, wire: number): Uint8Array => varint(number * 8 + wire);
const sizeOf = (chunks: Chunks): number => chunks.reduce((size, chunk) => size + chunk.length, 0);

export const int = (number: number, value: number | bigint): Chunks => [tag(number, 0), varint(value)];
export const bytes = (number: number, value: Uint8Array): Chunks => [tag(number, 2), varint(value.length), value];
const encoder = new TextEncoder();
export const text = (number: number, value: string): Chunks => bytes(number, encoder.encode(value));
export const message = (number: number, content: Chunks): Chunks => [
  tag(number, 2),
  varint(sizeOf(content)),
  ...content,
];
export const packed = (number: number, values: readonly number[]): Chunks =>
  values.length === 0
    ? []
    : message(
        number,
        values.map((value) => varint(value)),
      );

export const float = (number: number, value: number): Chunks => {
  const out = new Uint8Array(4);
  new DataView(out.buffer).setFloat32(0, value, true);
  return [tag(number, 5), out];
};

export const join = (chunks: Chunks): Uint8Array => {
  const out = new Uint8Array(sizeOf(chunks));
  let at = 0;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.length;
  }
  return out;
};
