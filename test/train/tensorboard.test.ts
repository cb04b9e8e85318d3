import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { crc32c, openEvents } from "../../src/train/tensorboard.js";
import { temporary } from "./folder.js";

type Message = ReadonlyMap<number, readonly (number | Buffer)[]>;

/** Reads any protobuf message by its wire types. */
const parse = (data: Buffer): Message => {
  const fields = new Map<number, (number | Buffer)[]>();
  let at = 0;
  const varint = (): number => {
    for (let value = 0, scale = 1; ; scale *= 128) {
      const byte = data.readUInt8(at++);
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  const take = (size: number): Buffer => {
    at += size;
    return data.subarray(at - size, at);
  };
  const readers = [
    varint,
    () => take(8).readDoubleLE(),
    () => take(varint()),
    undefined,
    undefined,
    () => take(4).readFloatLE(),
  ];
  while (at < data.length) {
    const tag = varint();
    const list = fields.get(tag >> 3) ?? [];
    fields.set(tag >> 3, [...list, readers[tag & 7]!()]);
  }
  return fields;
};

const masked = (data: Uint8Array): number => {
  const crc = BigInt(crc32c(data));
  return Number((((crc >> 15n) | (crc << 17n)) + 0xa282ead8n) & 0xffffffffn);
};

const events = (file: Buffer): readonly Message[] => {
  const found: Message[] = [];
  for (let at = 0; at < file.length; ) {
    const length = Number(file.readBigUInt64LE(at));
    expect(file.readUInt32LE(at + 8)).toBe(masked(file.subarray(at, at + 8)));
    const data = file.subarray(at + 12, at + 12 + length);
    expect(file.readUInt32LE(at + 12 + length)).toBe(masked(data));
    found.push(parse(data));
    at += 16 + length;
  }
  return found;
};

test("crc32c: the vectors of RFC 3720, appendix B.4", () => {
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  expect(crc32c(new Uint8Array(32).fill(255))).toBe(0x62a8ab43);
  expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
  expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => 31 - i))).toBe(0x113fdb5c);
  expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
});

test("an event file reads back: its version, the session's start, and every value", () => {
  const folder = temporary();
  const before = Date.now() / 1000;
  const writer = openEvents(folder, 200);
  writer.write(200, { "train/loss": 0.5, "train/learning rate": 1e-3 });
  writer.write(2 ** 33, { "dev/accuracy": 0.75 });
  writer.close();
  const [name = ""] = readdirSync(folder);
  expect(name).toMatch(/^events\.out\.tfevents\.\d{10}\./);
  const [version, session, first, second] = events(readFileSync(join(folder, name)));
  expect(String(version?.get(3)?.[0])).toBe("brain.Event:2");
  expect(session?.get(2)).toEqual([200]);
  expect(parse(session?.get(7)?.[0] as Buffer).get(1)).toEqual([1]);
  expect(first?.get(1)?.[0]).toBeGreaterThanOrEqual(before);
  const values = (event: Message | undefined) =>
    (parse(event?.get(5)?.[0] as Buffer).get(1) ?? []).map((value) => {
      const fields = parse(value as Buffer);
      return [String(fields.get(1)?.[0]), fields.get(2)?.[0]];
    });
  expect(values(first)).toEqual([
    ["train/loss", 0.5],
    ["train/learning rate", Math.fround(1e-3)],
  ]);
  expect(second?.get(2)).toEqual([2 ** 33]);
  expect(values(second)).toEqual([["dev/accuracy", 0.75]]);
});
