import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { magnitudeBelow } from "../../src/engine/quantile.js";

const bySorting = (values: Float32Array, fraction: number): number =>
  [...values].map(Math.abs).sort((a, b) => a - b)[Math.max(1, Math.ceil(fraction * values.length)) - 1]!;

const fractions = fc.oneof(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(0, 0.25, 0.5, 1));
/** Ties, zeros of both signs, neighbours in the last bit, the smallest numbers and the largest. */
const value = fc.oneof(
  fc.float({ noNaN: true }),
  fc.constantFrom(0, -0, 1, -1, 1 + 2 ** -23, -1 - 2 ** -23, 1e-45, -1e-45, 3.4e38, Infinity, -Infinity),
  fc.integer({ min: -3, max: 3 }),
);

describe("the magnitude below which a fraction lies", () => {
  it("is what sorting finds, ties, zeros and extremes included", () => {
    fc.assert(
      fc.property(fc.array(value, { minLength: 1, maxLength: 60 }), fractions, (list, fraction) => {
        const values = Float32Array.from(list);
        expect(magnitudeBelow(values, fraction)).toBe(bySorting(values, fraction));
      }),
      { numRuns: 150 },
    );
  });

  it("keeps that fraction, rounded up, of values without ties", () => {
    const values = Float32Array.from({ length: 5000 }, (_, i) => ((i % 2) - 0.5) * (((i * 7919) % 5000) + 1));
    expect(new Set(values.map(Math.abs)).size).toBe(5000);
    for (const fraction of [0.0001, 0.001, 0.25, 0.4999, 0.9, 1]) {
      const threshold = magnitudeBelow(values, fraction);
      expect(threshold).toBe(bySorting(values, fraction));
      expect(values.filter((of) => Math.abs(of) <= threshold)).toHaveLength(Math.ceil(fraction * 5000));
    }
  });

  it("looks at a part of a buffer alone, and leaves it as it is", () => {
    const all = Float32Array.of(9, 9, 1, -2, 3, 4, 0.1, 0.1);
    const before = all.slice();
    expect(magnitudeBelow(all.subarray(2, 6), 0.5)).toBe(2);
    expect(all).toEqual(before);
  });
});
