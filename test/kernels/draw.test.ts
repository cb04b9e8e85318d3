import { describe, expect, it } from "vitest";
import { drawer } from "../../src/kernels/draw.js";
import { type Key, tensorId, tensorKey } from "../../src/random/key.js";
import { fillNoise } from "../../src/random/noise.js";

const key = (step: number): Key => ({ seed: 2n ** 40n + 3n, stream: "factor", step, query: 1 });
const bits = (values: Float32Array) => Buffer.from(values.slice().buffer).toString("hex");

describe("a drawer", () => {
  it.each(["gaussian", "rademacher"] as const)("draws the bits of %s noise, however many are asked for", (name) => {
    const draw = drawer(name);
    for (const [step, length] of [0, 1, 7, 63, 1025, 16_383, 16_384, 16_385, 40_000].entries()) {
      const out = new Float32Array(length).fill(9);
      const expected = new Float32Array(length);
      draw(key(step), tensorId(`w${step}#v`), out);
      fillNoise(name, tensorKey(key(step), tensorId(`w${step}#v`)), 0, expected);
      // Lengths that are equal and bits that are not would be a long message.
      expect(bits(out) === bits(expected)).toBe(true);
    }
  });

  it("writes into a part of an array and nowhere else", () => {
    const all = new Float32Array(40).fill(9);
    drawer("gaussian")(key(1), 1n, all.subarray(10, 30));
    expect(all.subarray(0, 10)).toEqual(new Float32Array(10).fill(9));
    expect(all.subarray(30)).toEqual(new Float32Array(10).fill(9));
    expect(all.subarray(10, 30)).not.toContain(9);
  });
});
