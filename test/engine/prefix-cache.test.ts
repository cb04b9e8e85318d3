import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { createPrefixCache } from "../../src/engine/prefix-cache.js";
import { ZerothError } from "../../src/errors.js";

const place = mkdtempSync(join(tmpdir(), "zeroth-prefix-test-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));

const statesOf = (row: number, length: number) => Float32Array.from({ length }, (_, i) => Math.fround(row + i / 64));

describe("the prefix cache", () => {
  test.each([0, 100, 1e6])("gives back what it was given, end to end, with %d bytes of memory", (budget) => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(40), { maxLength: 12 }),
        fc.array(fc.nat(11), { maxLength: 20 }),
        (lengths, asked) => {
          const cache = createPrefixCache(budget, place);
          for (const [row, length] of lengths.entries()) cache.put(row, statesOf(row, length));
          const rows = asked.filter((row) => row < lengths.length);
          const expected = rows.flatMap((row) => [...statesOf(row, lengths[row]!)]);
          expect([...cache.gather(rows)]).toEqual(expected);
          for (let row = 0; row < 15; row++) expect(cache.has(row)).toBe(row < lengths.length);
          cache.close();
        },
      ),
      { numRuns: 60 },
    );
    // Scratch files are gone with their caches.
    expect(readdirSync(place)).toEqual([]);
  });

  test("keeps copies, and the first of a row", () => {
    const cache = createPrefixCache(1e6, place);
    const states = Float32Array.of(1, 2);
    cache.put(7, states);
    states.fill(9);
    cache.put(7, states);
    expect([...cache.gather([7, 7])]).toEqual([1, 2, 1, 2]);
    expect(() => cache.gather([8])).toThrow("row 8 are not in the cache");
    expect(existsSync(place) && readdirSync(place)).toEqual([]);
  });

  test("says which file could not be written", () => {
    const missing = join(place, "not there");
    const cache = createPrefixCache(4, missing);
    cache.put(0, Float32Array.of(1));
    const spill = () => cache.put(1, Float32Array.of(1));
    expect(spill).toThrow(ZerothError);
    expect(spill).toThrow(missing);
    // What was kept stays.
    expect([...cache.gather([0])]).toEqual([1]);
  });
});
