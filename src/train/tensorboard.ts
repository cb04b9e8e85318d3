import { closeSync, openSync, writeSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { writeError } from "../atomic.js";

/*
 * TensorBoard's event file: TFRecords [u64 length][masked crc32c of length][data][masked crc32c of data], little-endian, each
 * a protobuf `Event`. The three messages needed are small enough to be written by hand.
 */

const CASTAGNOLI = 0x82f63b78;
const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? CASTAGNOLI : 0);
  return crc;
});

/** CRC-32C (Castagnoli, reflected), as of RFC 3720 appendix B.4. */
export const crc32c = (bytes: Uint8Array): number => {
  let crc = ~0;
  for (const byte of bytes) crc = (crc >>> 8) ^ (table[(crc ^ byte) & 255] ?? 0);
  return ~crc >>> 0;
};

/** Rotated and offset, so that a checksum of data which holds checksums stays a good one. */
const masked = (bytes: Uint8Array): number => {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
};

const littleEndian = (size: number, set: (view: DataView) => void): Uint8Array => {
  const bytes = new Uint8Array(size);
  set(new DataView(bytes.buffer));
  return bytes;
};
const u32 = (value: number): Uint8Array => littleEndian(4, (view) => view.setUint32(0, value, true));
const u64 = (value: number): Uint8Array => littleEndian(8, (view) => view.setBigUint64(0, BigInt(value), true));
const f32 = (value: number): Uint8Array => littleEndian(4, (view) => view.setFloat32(0, value, true));
const f64 = (value: number): Uint8Array => littleEndian(8, (view) => view.setFloat64(0, value, true));

const record = (data: Uint8Array): Uint8Array => {
  const length = u64(data.length);
  return Buffer.concat([length, u32(masked(length)), data, u32(masked(data))]);
};

const varint = (value: number): Uint8Array => {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    bytes.push(rest < 128 ? rest : (rest % 128) | 128);
    if (rest < 128) return Uint8Array.from(bytes);
  }
};

// Protobuf fields by wire type.
const number = (field: number, value: number): Uint8Array => Buffer.concat([varint(field << 3), varint(value)]);
const double = (field: number, value: number): Uint8Array => Buffer.concat([varint((field << 3) | 1), f64(value)]);
const float = (field: number, value: number): Uint8Array => Buffer.concat([varint((field << 3) | 5), f32(value)]);
const bytes = (field: number, ...parts: readonly Uint8Array[]): Uint8Array => {
  const data = Buffer.concat(parts);
  return Buffer.concat([varint((field << 3) | 2), varint(data.length), data]);
};

const event = (step: number, what: Uint8Array): Uint8Array =>
  record(Buffer.concat([double(1, Date.now() / 1000), number(2, step), what]));
const fileVersion = bytes(3, Buffer.from("brain.Event:2"));
/** Steps from here on that an earlier file holds are void. */
const sessionStart = bytes(7, number(1, 1));
const summary = (values: Readonly<Record<string, number>>): Uint8Array =>
  bytes(5, ...Object.entries(values).map(([tag, value]) => bytes(1, bytes(1, Buffer.from(tag)), float(2, value))));

export interface EventWriter {
  /** @throws ZerothError when the disk is full */
  write(step: number, values: Readonly<Record<string, number>>): void;
  close(): void;
}

/** Starts an event file in `folder`, one a session; what earlier sessions wrote of steps from `step` on is voided. */
export const openEvents = (folder: string, step: number): EventWriter => {
  const path = join(folder, `events.out.tfevents.${Math.floor(Date.now() / 1000)}.${hostname()}.${process.pid}`);
  const attempt = <T>(write: () => T): T => {
    try {
      return write();
    } catch (error) {
      throw writeError(path, error);
    }
  };
  const fd = attempt(() => openSync(path, "a"));
  attempt(() => writeSync(fd, Buffer.concat([event(0, fileVersion), event(step, sessionStart)])));
  return {
    write: (at, values) => void attempt(() => writeSync(fd, event(at, summary(values)))),
    close: () => closeSync(fd),
  };
};
