import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ZerothError } from "../../src/errors.js";
import {
  bytes,
  type Chunks,
  fields,
  float,
  floatsOf,
  int,
  intOf,
  intsOf,
  join,
  message,
  packed,
  text,
  textOf,
} from "../../src/graph/protobuf.js";

/* Expected bytes are those of protobuf.dev/programming-guides/encoding, or come from the writer below, which shares no code. */

const hex = (content: Chunks | Uint8Array): string =>
  Buffer.from(content instanceof Uint8Array ? content : join(content)).toString("hex");
const unhex = (digits: string): Uint8Array => Uint8Array.from(Buffer.from(digits.replaceAll(" ", ""), "hex"));
const all = (content: Uint8Array) => [...fields(content)];
const only = (content: Chunks) => {
  const [field, ...rest] = all(join(content));
  expect(rest).toEqual([]);
  return field!;
};

/** A varint by its definition: groups of seven bits from the low end, the high bit set on all but the last. */
const varint = (value: bigint, padding = 0): number[] => {
  const groups = [
    ...value
      .toString(2)
      .padStart(7 * Math.ceil(value.toString(2).length / 7), "0")
      .matchAll(/.{7}/g),
  ]
    .map(([bits]) => Number.parseInt(bits, 2))
    .reverse();
  const padded = [...groups, ...Array.from({ length: padding }, () => 0)];
  return padded.map((group, i) => (i < padded.length - 1 ? group + 128 : group));
};

/** One field as it should be read, and its bytes. */
interface Sample {
  readonly number: number;
  readonly wire: number;
  readonly value: bigint;
  readonly payload: readonly number[];
  readonly raw: readonly number[];
}
const number = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 2 ** 29 - 1 }));
const uint64 = fc.oneof(
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.integer({ min: 0, max: 63 }).map((bit) => 2n ** BigInt(bit)),
  fc.integer({ min: 1, max: 64 }).map((bit) => 2n ** BigInt(bit) - 1n),
);
const payload = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((content) => [...content]);
const sample: fc.Arbitrary<Sample> = fc
  .oneof(
    // Padded varints are odd but legal, up to ten bytes.
    fc.tuple(uint64, fc.nat(2)).map(([value, padding]) => {
      const content = varint(value, Math.min(padding, 10 - varint(value).length));
      return { wire: 0, value, payload: content, after: content };
    }),
    payload(8).map((content) => ({ wire: 1, value: 0n, payload: content, after: content })),
    fc.uint8Array({ maxLength: 300 }).map((content) => {
      const list = [...content];
      return { wire: 2, value: 0n, payload: list, after: [...varint(BigInt(list.length)), ...list] };
    }),
    payload(4).map((content) => ({ wire: 5, value: 0n, payload: content, after: content })),
  )
  .chain(({ after, ...rest }) =>
    number.map((n) => ({ ...rest, number: n, raw: [...varint(BigInt(n) * 8n + BigInt(rest.wire)), ...after] })),
  );

describe("the writer", () => {
  it.each([
    ["a number", int(1, 150), "08 96 01"],
    ["zero", int(1, 0), "08 00"],
    ["a negative number in ten bytes", int(1, -2), "08 fe ff ff ff ff ff ff ff ff 01"],
    ["the largest number of 64 bits", int(1, 2n ** 64n - 1n), "08 ff ff ff ff ff ff ff ff ff 01"],
    ["the least of 64 bits with a sign", int(1, -(2n ** 63n)), "08 80 80 80 80 80 80 80 80 80 01"],
    ["text", text(2, "testing"), "12 07 74 65 73 74 69 6e 67"],
    ["text of two bytes a letter", text(2, "é"), "12 02 c3 a9"],
    ["bytes, none of them", bytes(4, new Uint8Array(0)), "22 00"],
    ["a message in a message", message(3, int(1, 150)), "1a 03 08 96 01"],
    ["packed numbers", packed(6, [3, 270, 86942]), "32 06 03 8e 02 9e a7 05"],
    ["no packed numbers as no field", packed(6, []), ""],
    ["a float, low byte first", float(5, 1.5), "2d 00 00 c0 3f"],
    ["a field number of two bytes", int(16, 1), "80 01 01"],
  ] as const)("gives %s", (_, content, expected) => {
    expect(hex(content)).toBe(expected.replaceAll(" ", ""));
  });

  it("gives lengths of more than a byte, through every level", () => {
    const inner = bytes(1, new Uint8Array(300).fill(7));
    expect(hex(message(2, message(3, inner)))).toBe(`12b2021aaf020aac02${"07".repeat(300)}`);
  });

  it("writes numbers as the definition of a varint says", () => {
    fc.assert(fc.property(uint64, (value) => hex(int(1, value)) === hex(Uint8Array.from([0x08, ...varint(value)]))));
  });

  it("refuses a number in parts instead of rounding it", () => {
    expect(() => int(1, 0.5)).toThrow(RangeError);
  });

  it("gives field numbers up to the 2^29 - 1 that the format allows", () => {
    for (const largest of [2 ** 28, 2 ** 29 - 1])
      expect(only(int(largest, 5))).toMatchObject({ number: largest, value: 5n });
  });
});

describe("the reader", () => {
  it("gives every field in order, with its bytes as they came", () => {
    fc.assert(
      fc.property(fc.array(sample), (samples) => {
        const content = Uint8Array.from(samples.flatMap(({ raw }) => raw));
        expect(all(content).map((field) => ({ ...field, bytes: [...field.bytes], raw: [...field.raw] }))).toEqual(
          samples.map(({ payload: list, ...rest }) => ({ ...rest, bytes: list })),
        );
      }),
    );
  });

  it("gives views into the given bytes, not copies", () => {
    const content = join([...int(1, 1), ...bytes(2, Uint8Array.of(4, 5, 6))]);
    for (const field of all(content)) {
      expect(field.bytes.buffer).toBe(content.buffer);
      expect(field.raw.buffer).toBe(content.buffer);
    }
    content[content.length - 1] = 9;
    expect([...all(content)[1]!.bytes]).toEqual([4, 5, 9]);
  });

  it("reads what the writer wrote, at every depth", () => {
    const tree = fc.letrec<{ node: Chunks }>((tie) => ({
      node: fc
        .array(
          fc.oneof(
            { depthSize: "small", withCrossShrink: true },
            fc
              .tuple(
                number.map((n) => n % 2 ** 28 || 1),
                uint64,
              )
              .map(([n, value]) => int(n, value)),
            fc.tuple(fc.integer({ min: 1, max: 99 }), tie("node")).map(([n, content]) => message(n, content)),
          ),
          { maxLength: 4 },
        )
        .map((list) => list.flat()),
    })).node;
    fc.assert(
      fc.property(tree, (content) => {
        const again = (part: Uint8Array): Chunks =>
          all(part).flatMap((field) =>
            field.wire === 0 ? int(field.number, field.value) : message(field.number, again(field.bytes)),
          );
        expect(hex(again(join(content)))).toBe(hex(content));
      }),
    );
  });

  it("reads signed numbers of 64 bits", () => {
    const safe = fc.oneof(fc.maxSafeInteger(), fc.constantFrom(0, 1, -1, Number.MAX_SAFE_INTEGER, -(2 ** 53) + 1));
    fc.assert(fc.property(safe, (value) => intOf(only(int(1, value)).value) === value));
    expect(intOf(2n ** 63n)).toBe(-(2 ** 63));
  });

  it("reads repeated numbers, one a field or packed, with a sign", () => {
    fc.assert(
      fc.property(fc.array(fc.maxSafeInteger(), { minLength: 1 }), (list) => {
        expect(intsOf(only(packed(3, list)))).toEqual(list);
        expect(list.flatMap((value) => intsOf(only(int(3, value))))).toEqual(list);
      }),
    );
    expect(intsOf(only(bytes(3, new Uint8Array(0))))).toEqual([]);
  });

  it("reads floats, one a field or packed, wherever they lie", () => {
    const values = fc.array(fc.float({ noNaN: true }), { minLength: 1 });
    fc.assert(
      fc.property(values, fc.nat(3), (list, shift) => {
        expect(list.flatMap((value) => floatsOf(only(float(3, value))))).toEqual(list);
        // A view that starts off any boundary of four bytes.
        const content = new Uint8Array(shift + 4 * list.length).subarray(shift);
        list.forEach((value, i) => {
          new DataView(content.buffer, content.byteOffset).setFloat32(4 * i, value, true);
        });
        expect(floatsOf(only(bytes(3, content)))).toEqual(list);
      }),
    );
  });

  it("reads text in any script", () => {
    fc.assert(fc.property(fc.string({ unit: "grapheme" }), (value) => textOf(only(text(1, value)).bytes) === value));
    expect(textOf(unhex("7a c3 a9 e5 ad 97 f0 9f 8c b1"))).toBe("zé字🌱");
  });

  it("keeps a byte order mark at the front of a name", () => {
    expect(textOf(only(text(1, "\ufeffx")).bytes)).toBe("\ufeffx");
  });

  it.each([
    ["a varint without an end", "08 ff", "a number runs past the end"],
    ["a tag without a value", "08", "a number runs past the end"],
    ["a varint of eleven bytes", "08 80 80 80 80 80 80 80 80 80 80 01", "a number is longer than ten bytes"],
    ["a length beyond the end", "12 02 41", "field 2 is longer than the file"],
    ["a length of 2^31", "12 80 80 80 80 08 41", "field 2 is longer than the file"],
    ["a length of 2^32, which is 0 in 32 bits", "12 80 80 80 80 10 41", "field 2 is longer than the file"],
    ["a length of 2^64 - 1, which is -1", "12 ff ff ff ff ff ff ff ff ff 01 41", "field 2 is longer than the file"],
    ["eight bytes cut short", "09 01 02 03 04 05 06 07", "field 1 runs past the end"],
    ["four bytes cut short", "2d 01 02 03", "field 5 runs past the end"],
    ["field number 0", "00 01", "field number 0"],
    ["a field number of 2^29", "80 80 80 80 10 01", "field number 536870912"],
    ["the start of a group", "0b 0c", "wire type 3"],
    ["the end of a group", "0c", "wire type 4"],
    ["wire type 6", "0e 00", "wire type 6"],
    ["wire type 7", "0f 00", "wire type 7"],
  ])("refuses %s", (_, content, words) => {
    const read = () => all(unhex(content));
    expect(read).toThrow(ZerothError);
    expect(read).toThrow(`Not a valid ONNX file: ${words}. The file is damaged or cut short.`);
  });

  it("refuses packed numbers that end within one, and text that is not UTF-8", () => {
    const cut = only(bytes(1, Uint8Array.of(1, 0x80)));
    expect(() => intsOf(cut)).toThrow(ZerothError);
    expect(() => textOf(Uint8Array.of(0x61, 0xff))).toThrow(ZerothError);
  });

  it("reads up to the fault before it refuses, field by field", () => {
    const reading = fields(unhex("08 05 12 7f 41"));
    expect(reading.next().value).toMatchObject({ number: 1, value: 5n });
    expect(() => reading.next()).toThrow("field 2 is longer than the file");
  });

  it("takes any bytes, whole or refused, and gives them back when it takes them", () => {
    // Few values, so that tags and lengths often make sense.
    const byte = fc.oneof(fc.nat(15), fc.nat(255), fc.constantFrom(0x80, 0xff, 0x12, 0x0a));
    let taken = 0;
    fc.assert(
      fc.property(fc.array(byte, { maxLength: 40 }), (list) => {
        try {
          const raw = all(Uint8Array.from(list)).flatMap((field) => [...field.raw]);
          expect(raw).toEqual(list);
          taken++;
        } catch (error) {
          if (!(error instanceof ZerothError)) throw error;
        }
      }),
      { numRuns: 2000 },
    );
    expect(taken).toBeGreaterThan(100);
    expect(taken).toBeLessThan(1900);
  });
});
