import { describe, expect, it } from "vitest";
import { type Sampling, sampling } from "../../src/generate/sample.js";

const drawn = (logits: readonly number[], options: Partial<Sampling>, count = 4000): readonly number[] => {
  const choose = sampling({ temperature: 1, topP: 1, topK: 0, seed: 1n, ...options });
  return Array.from({ length: count }, (_, i) => choose(Float32Array.from(logits), i));
};
const shares = (tokens: readonly number[], of: number): readonly number[] =>
  Array.from({ length: of }, (_, id) => tokens.filter((token) => token === id).length / tokens.length);

/** Probabilities 0.1, 0.4, 0.05, 0.25, 0.2, up to a constant of all logits. */
const logits = [0.1, 0.4, 0.05, 0.25, 0.2].map((p) => Math.log(p) + 3);

const expectShares = (found: readonly number[], expected: readonly number[]): void => {
  // Five standard deviations of a share of 4,000 draws are less than 0.04.
  for (const [id, share] of expected.entries()) expect(Math.abs((found[id] ?? 0) - share)).toBeLessThan(0.04);
  for (const [id, share] of expected.entries()) if (share === 0) expect(found[id]).toBe(0);
};

describe("drawing tokens", () => {
  it("takes each as often as its probability", () => {
    expectShares(shares(drawn(logits, {}), 5), [0.1, 0.4, 0.05, 0.25, 0.2]);
  });

  it("at temperature 1/2 as its square", () => {
    const squares = [0.01, 0.16, 0.0025, 0.0625, 0.04].map((p) => p / 0.275);
    expectShares(shares(drawn(logits, { temperature: 0.5 }), 5), squares);
  });

  it("of the two likeliest", () => {
    expectShares(shares(drawn(logits, { topK: 2 }), 5), [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0]);
  });

  it("of the fewest that come to p: the one that crosses it is among them", () => {
    expectShares(shares(drawn(logits, { topP: 0.6 }), 5), [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0]);
    expectShares(shares(drawn(logits, { topP: 0.66 }), 5), [0, 0.4 / 0.85, 0, 0.25 / 0.85, 0.2 / 0.85]);
  });

  it("of the fewest that come to p among the k likeliest", () => {
    expectShares(shares(drawn(logits, { topK: 2, topP: 0.6 }), 5), [0, 1, 0, 0, 0]);
  });

  it("at temperature 0, near it, and of one token, is the likeliest, the first of equals", () => {
    const tied = [1, 7, -2, 7, 6.99];
    for (const options of [{ temperature: 0 }, { temperature: 1e-6 }, { topK: 1 }, { topP: 1e-9 }]) {
      const values = options.temperature === 1e-6 ? [1, 7, -2, 6.98, 6.99] : tied;
      expect(new Set(drawn(values, options, 200))).toEqual(new Set([1]));
    }
  });

  it("is the same for the same seed, whatever came before, and another for another", () => {
    const choose = sampling({ temperature: 1, topP: 1, topK: 0, seed: 9n });
    const later = choose(Float32Array.from(logits), 50);
    expect(later).toBe(drawn(logits, { seed: 9n }, 51)[50]);
    expect(drawn(logits, { seed: 9n }, 50)).not.toEqual(drawn(logits, { seed: 10n }, 50));
  });

  it("refuses logits that are no numbers", () => {
    expect(() => drawn([Number.NaN, Number.NaN], { temperature: 0 }, 1)).toThrow("not finite");
    expect(() => drawn([Number.NaN, 1], {}, 1)).toThrow("not finite");
  });
});
