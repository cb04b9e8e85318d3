import { describe, expect, it } from "vitest";
import { exactMatch, tokenF1 } from "../../src/objective/written.js";

describe("written answers", () => {
  it("F1 of words: case, punctuation, articles and spaces do not count", () => {
    expect(tokenF1("The cat.", ["cat"])).toBe(1);
    expect(tokenF1("  an  'Apple' ", ["apple"])).toBe(1);
    expect(tokenF1("another", ["other"])).toBe(0);
  });

  it("is the harmonic mean of precision and recall, words counted as often as both have them", () => {
    // Two of three words are right, of four wanted: 2·(2/3)(2/4)/((2/3)+(2/4)).
    expect(tokenF1("red red fox", ["red blue fox hare"])).toBeCloseTo(4 / 7, 12);
    expect(tokenF1("red red", ["red red blue"])).toBeCloseTo(4 / 5, 12);
  });

  it("is that of the nearest answer", () => {
    expect(tokenF1("in France", ["Spain", "France", "northern France"])).toBeCloseTo(2 / 3, 12);
    expect(tokenF1("", ["France"])).toBe(0);
    expect(tokenF1("France", [])).toBe(0);
  });

  it("match exactly or not, by the same words in the same order", () => {
    expect(exactMatch("the Bears!", ["Lions", "bears"])).toBe(true);
    expect(exactMatch("17 to 10", ["10 to 17"])).toBe(false);
    expect(exactMatch("17", [])).toBe(false);
  });
});
