import { describe, expect, it } from "vitest";
import type { Key } from "../../src/random/key.js";
import { permutation } from "../../src/random/shuffle.js";

const key = (step: number): Key => ({ seed: 1n, stream: "data", step, query: 0 });

describe("permutation", () => {
  it.each([0, 1, 2, 1000])("holds each of %d numbers once", (count) => {
    expect([...permutation(count, key(0))].sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i));
  });

  it("is a function of the key", () => {
    expect(permutation(100, key(1))).toEqual(permutation(100, key(1)));
    expect(permutation(100, key(1))).not.toEqual(permutation(100, key(2)));
  });

  it("draws all orders of four alike", () => {
    const draws = 24_000;
    const counts = new Map<string, number>();
    for (let step = 0; step < draws; step++) {
      const order = permutation(4, key(step)).join("");
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect(counts.size).toBe(24);
    const expected = draws / 24;
    const chiSquare = [...counts.values()].reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    // 23 degrees of freedom: above 49.7 once in a thousand times.
    expect(chiSquare).toBeLessThan(49.7);
  });
});
