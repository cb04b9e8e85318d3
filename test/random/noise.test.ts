import { describe, expect, it } from "vitest";
import { tensorId, tensorKey } from "../../src/random/key.js";
import { fillNoise, gaussianAt, rademacherAt, uniformAt } from "../../src/random/noise.js";
import { philox4x32 } from "../../src/random/philox.js";

const key = tensorKey({ seed: 3n, stream: "noise", step: 1, query: 0 }, tensorId("w"));
const [k0 = 0, k1 = 0, c2 = 0, c3 = 0] = key;
const block = (index: number) => philox4x32([index % 2 ** 32, Math.floor(index / 2 ** 32), c2, c3], [k0, k1]);

/** Box–Muller in double precision, on the words as fp32 holds them. */
const exact = (first: number, second: number): readonly [number, number] => {
  const signed = Math.fround(first | 1);
  const radius = Math.sign(signed) * Math.sqrt(-2 * Math.log(Math.abs(signed) / 2 ** 31));
  const angle = (Math.PI / 2) * (Math.fround(second | 0) / 2 ** 31);
  return [radius * Math.cos(angle), radius * Math.sin(angle)];
};

describe("Gaussian elements", () => {
  it("are Box–Muller on two words of one block, to fp32", () => {
    const places = [0, 1, 2, 3, 8, 11, 4096, 2 ** 34 + 2, 2 ** 52].map((index) => index - (index % 4 > 3 ? 1 : 0));
    for (const index of places) {
      const [w0, w1, w2, w3] = block(Math.floor(index / 8) * 2 + (index & 1));
      const [cosine, sine] = index % 4 < 2 ? exact(w0, w1) : exact(w2, w3);
      expect(gaussianAt(key, index)).toBeCloseTo(cosine, 5);
      expect(gaussianAt(key, index + 4)).toBeCloseTo(sine, 5);
    }
  });

  it("keep within 4e-6 of the exact transform, everywhere", () => {
    let worst = 0;
    for (let index = 0; index < 40_000; index += index % 4 === 3 ? 5 : 1) {
      const [w0, w1, w2, w3] = block(Math.floor(index / 8) * 2 + (index & 1));
      const [cosine, sine] = index % 4 < 2 ? exact(w0, w1) : exact(w2, w3);
      worst = Math.max(worst, Math.abs(gaussianAt(key, index) - cosine), Math.abs(gaussianAt(key, index + 4) - sine));
    }
    expect(worst).toBeGreaterThan(0);
    expect(worst).toBeLessThan(4e-6);
  });
});

describe("Rademacher elements", () => {
  it("are the bits of a word, the highest first", () => {
    const [even, odd] = [block(2 * 5)[2], block(2 * 5)[3]];
    for (let bit = 0; bit < 32; bit++) {
      expect(rademacherAt(key, 256 * 5 + 4 * bit + 2)).toBe((even >>> (31 - bit)) & 1 ? -1 : 1);
      expect(rademacherAt(key, 256 * 5 + 128 + 4 * bit + 2)).toBe((odd >>> (31 - bit)) & 1 ? -1 : 1);
    }
  });
});

describe("uniform elements", () => {
  it("are 53 bits in [0, 1), spread evenly", () => {
    const count = 50_000;
    const bins = new Float64Array(50);
    for (let i = 0; i < count; i++) {
      const value = uniformAt(key, i);
      expect(value * 2 ** 53).toBe(Math.floor(value * 2 ** 53));
      const bin = Math.floor(value * bins.length);
      bins[bin] = (bins[bin] ?? Number.NaN) + 1;
    }
    const expected = count / bins.length;
    // 49 degrees of freedom: above 85.4 once in a thousand times.
    expect(bins.reduce((sum, found) => sum + (found - expected) ** 2 / expected, 0)).toBeLessThan(85.4);
  });
});

describe("fillNoise", () => {
  it.each([
    ["gaussian", gaussianAt],
    ["rademacher", rademacherAt],
  ] as const)("writes %s elements from any start", (name, at) => {
    const start = 2 ** 33 + 5;
    const out = new Float32Array(300);
    fillNoise(name, key, start, out);
    expect([...out]).toEqual(Array.from(out, (_, i) => at(key, start + i)));
  });
});
