import { describe, expect, it } from "vitest";
import { noiseWasm } from "../../src/kernels/noise.wasm.js";
import { type Key, tensorId, tensorKey } from "../../src/random/key.js";

/*
 * The noise as samples, drawn by the kernels, which test/kernels/noise.test.ts holds to the definition bit for bit. Everything is
 * deterministic; bounds are in standard deviations of what truly normal, independent samples would give.
 */

const OUT = 65_536;
const TILE = 65_536;
const memory = new WebAssembly.Memory({ initial: 1 + (4 * TILE) / 65_536 });
const { exports } = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(Buffer.from(noiseWasm, "base64"))), {
  env: { memory },
});
const perBlock = { gaussian: 8, rademacher: 128 } as const;
type Name = keyof typeof perBlock;

const tile = new Float32Array(memory.buffer, OUT, TILE);
/** Elements of one tensor from a start, up to a tile of them; the next call overwrites them. */
const drawTile = (name: Name, key: Key, tensor: string, start = 0): Float32Array => {
  const words = tensorKey(key, tensorId(tensor));
  (exports[name] as (...args: number[]) => void)(...words, start / perBlock[name], 0, TILE, OUT);
  return tile;
};
const draw = (...args: Parameters<typeof drawTile>): Float32Array => drawTile(...args).slice();

const base: Key = { seed: 11n, stream: "noise", step: 7, query: 0 };
const TILES = 512;
const COUNT = TILES * TILE;

/** E zᵏ of a standard normal z: 0, or (k − 1)!! for an even k. */
const momentOf = (k: number): number => (k % 2 === 1 ? 0 : k === 0 ? 1 : (k - 1) * momentOf(k - 2));

/** Chances of equal bins from −LIMIT to LIMIT by Simpson's rule, and of what lies outside. */
const LIMIT = 4.5;
const PER_UNIT = 64;
const density = (x: number): number => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
const inside = Array.from({ length: 2 * LIMIT * PER_UNIT }, (_, i) => {
  const [from, width] = [i / PER_UNIT - LIMIT, 1 / PER_UNIT];
  return (width / 6) * (density(from) + 4 * density(from + width / 2) + density(from + width));
});
const outside = 1 - inside.reduce((sum, chance) => sum + chance, 0);

/** How many standard deviations χ² is from its mean, for counts whose chances add up to 1. */
const chiSquare = (counts: Float64Array, chances: readonly number[]): number => {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const sum = chances.reduce((sum, p, i) => sum + ((counts[i] ?? 0) - total * p) ** 2 / (total * p), 0);
  return (sum - (chances.length - 1)) / Math.sqrt(2 * (chances.length - 1));
};

const gather = () => {
  const sums = new Float64Array(9);
  const bins = new Float64Array(inside.length + 1);
  // The unit square that Box–Muller made pairs from, as a grid: u = exp(−r²/2), and the angle's turns.
  const grid = new Float64Array(64 * 64);
  const values = new Float32Array(TILE);
  const beyond = { below: new Float64Array(4), above: new Float64Array(4) };
  let [worst, negative] = [0, 0];
  for (let t = 0; t < TILES; t++) {
    values.set(drawTile("gaussian", base, "moments", t * TILE));
    for (let i = 0; i < TILE; i++) {
      const z = values[i] ?? Number.NaN;
      const square = z * z;
      const fourth = square * square;
      sums[1]! += z;
      sums[2]! += square;
      sums[3]! += z * square;
      sums[4]! += fourth;
      sums[5]! += z * fourth;
      sums[6]! += square * fourth;
      sums[7]! += z * square * fourth;
      sums[8]! += fourth * fourth;
      const bin = Math.floor((z + LIMIT) * PER_UNIT);
      bins[bin >= 0 && bin < inside.length ? bin : inside.length]! += 1;
      if (z < 0) negative++;
      if (square > 9) {
        worst = Math.max(worst, Math.abs(z));
        const side = z < 0 ? beyond.below : beyond.above;
        for (const [at, { limit }] of tails.entries()) if (Math.abs(z) > limit) side[at]! += 1;
      }
    }
    for (let i = t % 8; i < TILE; i += 8) {
      const [x, y] = [values[i - (i % 8) + (i & 3)] ?? 0, values[i - (i % 8) + (i & 3) + 4] ?? 0];
      const u = Math.exp(-(x * x + y * y) / 2);
      const turn = Math.atan2(y, x) / (2 * Math.PI) + 0.5;
      grid[64 * Math.min(63, Math.floor(64 * u)) + Math.min(63, Math.floor(64 * turn))]! += 1;
    }
  }
  return { moments: sums.map((sum) => sum / COUNT), bins, grid, beyond, worst, negative };
};

/** Chances of one side, to all digits that are published. */
const tails = [
  { limit: 3, chance: 1.349898031630095e-3 },
  { limit: 4, chance: 3.167124183311992e-5 },
  { limit: 4.5, chance: 3.397673124730053e-6 },
  { limit: 5, chance: 2.866515718791939e-7 },
];

describe(`${COUNT} Gaussian elements`, () => {
  const { moments, bins, grid, beyond, worst, negative } = gather();

  it.each([1, 2, 3, 4, 5, 6, 7, 8])("have the normal distribution's moment %d", (k) => {
    const deviation = Math.sqrt((momentOf(2 * k) - momentOf(k) ** 2) / COUNT);
    expect(Math.abs((moments[k] ?? Number.NaN) - momentOf(k)) / deviation).toBeLessThan(3.5);
  });

  it("fill 576 bins as the normal distribution does", () => {
    expect(Math.abs(chiSquare(bins, [...inside, outside]))).toBeLessThan(3.5);
  });

  it.each(tails.map(({ limit, chance }, at) => ({ limit, chance, at })))(
    "lie beyond $limit on either side as often as normal ones",
    ({ chance, at }) => {
      for (const count of [beyond.below[at], beyond.above[at]]) {
        expect(Math.abs((count ?? Number.NaN) - COUNT * chance) / Math.sqrt(COUNT * chance)).toBeLessThan(3.5);
      }
    },
  );

  it("are as often negative as positive, and never beyond 6.45", () => {
    expect(Math.abs(negative - COUNT / 2) / Math.sqrt(COUNT / 4)).toBeLessThan(3.5);
    expect(worst).toBeGreaterThan(5);
    expect(worst).toBeLessThan(6.45);
  });

  it("are pairs of independent radii and angles", () => {
    const even = Array<number>(grid.length).fill(1 / grid.length);
    expect(Math.abs(chiSquare(grid, even))).toBeLessThan(3.5);
  });
});

/** Correlation of two samples with mean 0 and a known variance, in its standard deviations. */
const correlation = (a: Float32Array, b: Float32Array, variance: number): number => {
  const n = Math.min(a.length, b.length);
  let sum = 0;
  for (let i = 0; i < n; i++) sum += (a[i] ?? Number.NaN) * (b[i] ?? Number.NaN);
  return Math.abs(sum) / (variance * Math.sqrt(n));
};
const squares = (values: Float32Array): Float32Array => values.map((value) => value * value - 1);

const others: readonly (readonly [string, Key, string])[] = [
  ["the next step", { ...base, step: 8 }, "a"],
  ["the next query", { ...base, query: 1 }, "a"],
  ["another stream", { ...base, stream: "mask" }, "a"],
  ["another seed", { ...base, seed: 12n }, "a"],
  ["another tensor", base, "b"],
];

describe.each(["gaussian", "rademacher"] as const)("%s elements", (name) => {
  const values = draw(name, base, "a");

  it("do not correlate with those up to 600 places on, and neither do squares", () => {
    // The greatest of 600 is beyond 4.5 once in 250 times.
    for (let lag = 1; lag <= 600; lag++) {
      expect(correlation(values, values.subarray(lag), 1)).toBeLessThan(4.5);
      if (name === "gaussian") {
        expect(correlation(squares(values), squares(values.subarray(lag)), 2)).toBeLessThan(4.5);
      }
    }
  });

  it.each(others)("do not correlate with those of %s", (_, key, tensor) => {
    const elsewhere = draw(name, key, tensor);
    for (const lag of [0, 1, 2, 4, 8, 32]) {
      expect(correlation(values, elsewhere.subarray(lag), 1)).toBeLessThan(3.5);
      expect(correlation(values.subarray(lag), elsewhere, 1)).toBeLessThan(3.5);
      if (name === "gaussian") {
        expect(correlation(squares(values), squares(elsewhere.subarray(lag)), 2)).toBeLessThan(3.5);
      }
    }
  });
});

describe("Rademacher elements", () => {
  it("are ±1, eight in a row as often in any pattern", () => {
    const patterns = new Float64Array(256);
    for (let t = 0; t < 64; t++) {
      const values = drawTile("rademacher", base, "signs", t * TILE);
      for (let i = 0; i < TILE; i += 8) {
        let pattern = 0;
        for (let j = 0; j < 8; j++) pattern = 2 * pattern + ((values[i + j] ?? Number.NaN) + 1) / 2;
        patterns[pattern]! += 1;
      }
    }
    expect(patterns.reduce((sum, count) => sum + count, 0)).toBe((64 * TILE) / 8);
    expect(Math.abs(chiSquare(patterns, Array<number>(256).fill(1 / 256)))).toBeLessThan(3.5);
  });
});
