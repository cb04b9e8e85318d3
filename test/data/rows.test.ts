import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { dataFile, jsonRows, readRows } from "../../src/data/rows.js";
import { ZerothError } from "../../src/errors.js";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "zeroth-rows-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const write = (name: string, content: string | Uint8Array): string => {
  const file = join(folder, name);
  writeFileSync(file, content);
  return file;
};

async function* inChunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < bytes.length; i += size) yield bytes.subarray(i, i + size);
}

describe("readRows", () => {
  it("JSONL: blank lines skipped but counted, BOM and CRLF accepted, no last line break needed", async () => {
    const file = write("a.jsonl", '\uFEFF{"a":1}\r\n\n  \n{"a":"é\u2028"}');
    expect(await readRows(file)).toEqual([
      { fields: { a: 1 }, file, line: 1 },
      { fields: { a: "é\u2028" }, file, line: 4 },
    ]);
  });

  it("CSV: header row, quotes, line breaks inside quotes", async () => {
    const file = write("a.csv", '\uFEFFtext,label\n"a, ""b""",1\n\n"two\nlines",0\n');
    expect(await readRows(file)).toEqual([
      { fields: { text: 'a, "b"', label: "1" }, file, line: 2 },
      { fields: { text: "two\nlines", label: "0" }, file, line: 5 },
    ]);
  });

  it.each([
    ["bad.jsonl", '{"a":1}\n{"a":', /bad\.jsonl:2: not JSON/],
    ["list.jsonl", "[1]", /list\.jsonl:1: expected an object/],
    ["null.jsonl", "null", /null\.jsonl:1: expected an object/],
    ["latin.jsonl", Uint8Array.from([123, 34, 233, 34, 125]), /latin\.jsonl:1: not UTF-8/],
    ["empty.jsonl", "", /empty\.jsonl holds no rows/],
    ["blank.jsonl", "\n \n", /blank\.jsonl holds no rows/],
    ["head.csv", "a,b\n", /head\.csv holds no rows/],
    ["none.csv", "", /none\.csv holds no rows/],
    ["ragged.csv", "a,b\n1\n", /ragged\.csv: not readable as CSV.*line 2/],
    ["open.csv", 'a,b\n"1,2\n', /open\.csv: not readable as CSV/],
  ])("%s is refused by name", async (name, content, message) => {
    const file = write(name, content);
    await expect(readRows(file)).rejects.toThrow(message);
    await expect(readRows(file)).rejects.toBeInstanceOf(ZerothError);
    await expect(readRows(file)).rejects.toSatisfy((error: Error) => error.message.split("\n").length <= 4);
  });

  it("a missing file is a ZerothError that names it", async () => {
    await expect(readRows(join(folder, "nowhere.jsonl"))).rejects.toThrow(ZerothError);
    await expect(readRows(join(folder, "nowhere.jsonl"))).rejects.toThrow(/nowhere\.jsonl/);
  });

  it("any chunking of a stream gives the same rows", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            fc.constant(""),
            fc.string({ unit: "grapheme" }).map((text) => JSON.stringify({ text })),
          ),
          { maxLength: 8 },
        ),
        fc.integer({ min: 1, max: 40 }),
        async (lines, size) => {
          const found = [];
          for await (const row of jsonRows(inChunks(Buffer.from(lines.join("\n")), size), "f")) found.push(row);
          const expected = lines.flatMap((line, i) =>
            line === "" ? [] : [{ fields: JSON.parse(line), file: "f", line: i + 1 }],
          );
          expect(found).toEqual(expected);
        },
      ),
      { numRuns: 200 },
    );
  });

  it("any bytes give rows or a ZerothError", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 64 }), fc.constantFrom("f.csv", "f.jsonl"), async (bytes, name) => {
        const file = write(name, bytes);
        await readRows(file).then(
          (rows) => expect(rows.length).toBeGreaterThan(0),
          (error) => expect(error).toBeInstanceOf(ZerothError),
        );
      }),
      { numRuns: 300 },
    );
  });
});

describe("dataFile", () => {
  it("finds a split in a folder, or takes the file itself", async () => {
    const data = join(folder, "set");
    mkdirSync(data);
    await expect(dataFile(data, "train")).rejects.toThrow(/no train\.jsonl and no train\.csv/);
    writeFileSync(join(data, "train.csv"), "a\n1\n");
    expect(await dataFile(data, "train")).toBe(join(data, "train.csv"));
    writeFileSync(join(data, "train.jsonl"), "{}\n");
    expect(await dataFile(data, "train")).toBe(join(data, "train.jsonl"));
    expect(await dataFile(join(data, "train.csv"), "validation")).toBe(join(data, "train.csv"));
    await expect(dataFile(join(data, "no"), "train")).rejects.toThrow(/No data at/);
  });
});
