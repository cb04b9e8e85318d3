import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { setting } from "../../src/cli/format.js";
import { nearest, or, padded, table, widthOf, wrapped } from "../../src/cli/words.js";

describe("words", () => {
  it("are listed", () => {
    expect([[], ["a"], ["a", "b"], ["a", "b", "c"]].map(or)).toEqual(["", "a", "a or b", "a, b or c"]);
  });

  it.each([
    ["mezzo", "mezo"],
    ["adam", "zo-adam"],
    ["lozo_m", "lozo-m"],
    ["sgd", "zo-sgd"],
    ["x", undefined],
    ["gradient", undefined],
  ])("near %s: %s", (word, name) => {
    expect(nearest(word, ["mezo", "zo-adam", "lozo", "lozo-m", "zo-sgd"])).toBe(name);
  });

  it("are wrapped: no line wider than asked, none lost", () => {
    const word = fc.stringMatching(/^(?:[a-z]|θ\u0304|m\u0302){1,9}$/);
    fc.assert(
      fc.property(fc.array(word, { minLength: 1 }), fc.integer({ min: 9, max: 40 }), (words, width) => {
        const lines = wrapped(words.join(" "), width);
        expect(lines.join(" ")).toBe(words.join(" "));
        for (const line of lines) expect(widthOf(line)).toBeLessThanOrEqual(width);
        // No word would have had room on the line before.
        for (const [i, line] of lines.slice(1).entries())
          expect(widthOf(lines[i]!) + 1 + widthOf(line.split(" ")[0]!)).toBeGreaterThan(width);
      }),
    );
  });

  it("do not count accents", () => {
    expect(padded("θ̄", 3)).toBe("θ̄  ");
  });
});

describe("tables", () => {
  it("align columns, wrap the last one, and give a wide first cell a line", () => {
    const rows = [
      ["name", "n", "what it is"],
      ["a-long-name", "10", "words that go on for longer than there is room"],
    ];
    expect(table(rows, { width: 34, most: [6] })).toEqual([
      "name    n   what it is",
      "a-long-name",
      "        10  words that go on for",
      "            longer than there is",
      "            room",
    ]);
  });
});

it.each([
  [0, "0"],
  [1e-8, "1e-8"],
  [0.001, "1e-3"],
  [2.5e-5, "2.5e-5"],
  [0.01, "0.01"],
  [0.999, "0.999"],
  [1000, "1000"],
])("the setting %d is typed %s", (value, text) => {
  expect(setting(value)).toBe(text);
  expect(Number(text)).toBe(value);
});
