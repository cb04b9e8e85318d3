import { describe, expect, it } from "vitest";
import { tensorId, tensorKey } from "../../src/random/key.js";
import { fillNoise, fillUniform, gaussianAt, rademacherAt, uniformAt } from "../../src/random/noise.js";
import { philox4x32 } from "../../src/random/philox.js";

const key = tensorKey({ seed: 3n, stream: "noise", step: 1, query: 0 }, tensorId("w"));
const [k0 = 0, k1 = 0, c2 = 0, c3 = 0] = key;
/** Four blocks are four vectors: vector v holds word v mod 4 of blocks 4⌊v/4⌋ … 4⌊v/4⌋ + 3. */
const wordAt = (vector: number, lane: number): number => {
  const block = 4 * Math.floor(vector / 4) + lane;
  const words = philox4x32([block % 2 ** 32, Math.floor(block / 2 ** 32), c2, c3], [k0, k1]);
  return (words[vector % 4] ?? Number.NaN) | 0;
};

/** Box–Muller in double precision, on a word and its golden multiple as fp32 holds them. */
const exact = (word: number): readonly [number, number] => {
  const radius = Math.sign(word) * Math.sqrt(-2 * Math.log(Math.fround(Math.abs(word)) / 2 ** 31));
  const angle = (Math.PI / 2) * (Math.fround(Math.imul(word, 2654435769)) / 2 ** 31);
  return [radius * Math.cos(angle), radius * Math.sin(angle)];
};

describe("Gaussian elements", () => {
  it("are Box–Muller on a word and its golden multiple, four cosines before four sines", () => {
    for (const vector of [0, 1, 2, 3, 4, 4097, 2 ** 32 + 2, 2 ** 34 + 3, 2 ** 50 - 1]) {
      for (const lane of [0, 1, 2, 3]) {
        const [cosine, sine] = exact(wordAt(vector, lane));
        expect(gaussianAt(key, 8 * vector + lane)).toBeCloseTo(cosine, 4);
        expect(gaussianAt(key, 8 * vector + 4 + lane)).toBeCloseTo(sine, 4);
      }
    }
  });

  it("keep within 4e-5 of the exact transform, everywhere", () => {
    let worst = 0;
    for (let vector = 0; vector < 10_000; vector++) {
      const [cosine, sine] = exact(wordAt(vector, vector % 4));
      const index = 8 * vector + (vector % 4);
      worst = Math.max(worst, Math.abs(gaussianAt(key, index) - cosine), Math.abs(gaussianAt(key, index + 4) - sine));
    }
    expect(worst).toBeGreaterThan(0);
    expect(worst).toBeLessThan(4e-5);
  });
});

describe("Rademacher elements", () => {
  it("are the bits of words, the highest first, four words at a time", () => {
    for (const vector of [0, 1, 6, 2 ** 40 + 3]) {
      for (const lane of [0, 1, 2, 3]) {
        const word = wordAt(vector, lane);
        const signs = Array.from({ length: 32 }, (_, bit) => rademacherAt(key, 128 * vector + 4 * bit + lane));
        expect(signs).toEqual(Array.from({ length: 32 }, (_, bit) => ((word >>> (31 - bit)) & 1 ? -1 : 1)));
      }
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

describe("fillUniform", () => {
  it.each([0, 1, 6, 7])("writes the first %d of them", (count) => {
    const out = new Float32Array(count);
    fillUniform(key, out, (value) => 2 * value - 1);
    expect(out).toEqual(Float32Array.from({ length: count }, (_, i) => 2 * uniformAt(key, i) - 1));
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
