import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { folder } from "../../src/kernels/fold.js";

const sizes = fc.record({
  ...{ rows: fc.integer({ min: 1, max: 9 }), columns: fc.integer({ min: 1, max: 70 }) },
  ...{ rank: fc.integer({ min: 1, max: 6 }), phase: fc.integer({ min: 0, max: 1000 }) },
});
type Sizes = typeof sizes extends fc.Arbitrary<infer T> ? T : never;
const wave = (length: number, phase: number) =>
  Float32Array.from({ length }, (_, i) => Math.sin(1.3 * i * i + phase) * (1 + (i % 5)));
const matricesOf = ({ rows, columns, rank, phase }: Sizes) => ({
  ...{
    weight: wave(rows * columns, phase),
    left: wave(rows * rank, phase + 1),
    right: wave(columns * rank, phase + 2),
  },
});

describe("folding", () => {
  it("adds term after term in fp32, in matrices of any size one after another", () => {
    const fold = folder();
    const f = Math.fround;
    fc.assert(
      fc.property(sizes, (size) => {
        const { weight, left, right } = matricesOf(size);
        const { columns, rank } = size;
        const expected = weight.map((value, at) => {
          const [i, j] = [Math.floor(at / columns), at % columns];
          let sum = value;
          for (let k = 0; k < rank; k++) sum = f(sum + f(left[i * rank + k]! * right[j * rank + k]!));
          return sum;
        });
        fold(weight, left, right, rank);
        expect(weight).toEqual(expected);
      }),
    );
  });

  it("is the product of the factors, to rounding", () => {
    const size = { rows: 60, columns: 333, rank: 7, phase: 4 };
    const { weight, left, right } = matricesOf(size);
    const before = weight.slice();
    const [kept, other] = [left.slice(), right.slice()];
    folder()(weight, left, right, size.rank);
    let worst = 0;
    for (let i = 0; i < size.rows; i++)
      for (let j = 0; j < size.columns; j++) {
        let sum = before[i * size.columns + j]!;
        for (let k = 0; k < size.rank; k++) sum += left[i * size.rank + k]! * right[j * size.rank + k]!;
        worst = Math.max(worst, Math.abs(weight[i * size.columns + j]! - sum));
      }
    expect(worst).toBeGreaterThan(0);
    // Seven sums of numbers below 256, half a unit in the last place each, and as many products.
    expect(worst).toBeLessThan(14 * 2 ** -17);
    expect([left, right]).toEqual([kept, other]);
  });
});
