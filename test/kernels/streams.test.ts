import { describe, expect, it } from "vitest";
import type { Noise } from "../../src/kernels/program.js";
import { streamsOf, thresholdOf } from "../../src/kernels/streams.js";
import { type Key, tensorId, tensorKey } from "../../src/random/key.js";
import { fillNoise, maskedAt } from "../../src/random/noise.js";

const key = (step: number, query = 0): Key => ({ seed: 9n, stream: "noise", step, query });
const tensor = tensorId("w");
const noise = (sparsity: number, interval = 1): Noise => ({ distribution: "gaussian", mask: { sparsity, interval } });
const maskOf = (of: Noise, at: Key, id = tensor): Uint32Array => streamsOf(of, [at], id).mask[0]!;
const COUNT = 20_000;
const masked = (stream: Uint32Array, sparsity: number) =>
  Uint8Array.from({ length: COUNT }, (_, i) => (maskedAt(stream, i, thresholdOf(sparsity)) ? 1 : 0));
const countOf = (bits: Uint8Array) => bits.reduce((sum, bit) => sum + bit, 0);

describe("streams", () => {
  it("draw noise under its own key, and no mask where there is none", () => {
    const { noise: drawn, mask } = streamsOf({ distribution: "gaussian" }, [key(1), key(2, 3)], tensor);
    expect(drawn).toEqual([tensorKey(key(1), tensor), tensorKey(key(2, 3), tensor)]);
    expect(mask).toEqual([undefined, undefined]);
    expect(streamsOf(noise(0.5), [key(1)], tensor).noise).toEqual([tensorKey(key(1), tensor)]);
  });

  it("draw a mask anew every interval, the same for all of a step's queries, and another for each tensor and seed", () => {
    const of = noise(0.5, 4);
    const steps = Array.from({ length: 12 }, (_, step) => String(maskOf(of, key(step))));
    expect(new Set(steps.slice(0, 4)).size).toBe(1);
    expect(new Set(steps.slice(4, 8)).size).toBe(1);
    expect(new Set(steps).size).toBe(3);
    expect(maskOf(of, key(5, 2))).toEqual(maskOf(of, key(5)));
    expect(maskOf(of, key(5), tensorId("v"))).not.toEqual(maskOf(of, key(5)));
    expect(maskOf(of, { ...key(5), seed: 10n })).not.toEqual(maskOf(of, key(5)));
    expect(maskOf(of, key(4))).not.toEqual(tensorKey(key(4), tensor));
  });
});

describe("masks", () => {
  it("turn a sparsity into the words below it, none of them and almost all", () => {
    expect([0, 2 ** -32, 0.25, 0.5, 1 - 2 ** -40].map(thresholdOf)).toEqual([0, 1, 2 ** 30, 2 ** 31, 2 ** 32 - 1]);
  });

  it.each([0.05, 0.5, 0.75, 0.9, 0.99])("leave out the fraction %d", (sparsity) => {
    const deviation = Math.sqrt(COUNT * sparsity * (1 - sparsity));
    for (const step of [0, 1, 2])
      expect(Math.abs(countOf(masked(maskOf(noise(sparsity), key(step)), sparsity)) - sparsity * COUNT)).toBeLessThan(
        3 * deviation,
      );
  });

  it("leave out nothing at 0, and more where they leave out more", () => {
    const stream = maskOf(noise(0), key(3));
    expect(countOf(masked(stream, 0))).toBe(0);
    const [few, many] = [masked(stream, 0.3), masked(stream, 0.6)];
    expect(few.every((bit, i) => bit <= many[i]!)).toBe(true);
  });

  it("are independent of each other and of the noise, its size and its sign", () => {
    const [a, b] = [masked(maskOf(noise(0.5), key(1)), 0.5), masked(maskOf(noise(0.5), key(2)), 0.5)];
    const z = new Float32Array(COUNT);
    fillNoise("gaussian", tensorKey(key(1), tensor), 0, z);
    const both = (of: (i: number) => boolean) => a.reduce((sum, bit, i) => sum + (bit === 1 && of(i) ? 1 : 0), 0);
    const deviation = Math.sqrt((COUNT * 3) / 16);
    // Each halves what is masked: the other mask, the sign, and whether |z| is above its median.
    for (const of of [(i: number) => b[i] === 1, (i: number) => z[i]! > 0, (i: number) => Math.abs(z[i]!) > 0.67449])
      expect(Math.abs(both(of) - COUNT / 4)).toBeLessThan(3 * deviation);
    // Nor do neighbours hang together.
    const pairs = a.reduce((sum, bit, i) => sum + (bit === 1 && a[i + 1] === 1 ? 1 : 0), 0);
    expect(Math.abs(pairs - COUNT / 4)).toBeLessThan(3 * Math.sqrt((COUNT * 5) / 16));
  });
});
