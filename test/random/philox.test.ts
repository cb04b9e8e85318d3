import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Block, type Pair, PHILOX_ROUNDS, philox4x32 } from "../../src/random/philox.js";

const ONES = 0xffff_ffff;
/** The known-answer vectors published with the Random123 library: rounds, counter, key, block. */
const published: readonly (readonly [number, Block, Pair, Block])[] = [
  [7, [0, 0, 0, 0], [0, 0], [0x5f6fb709, 0x0d893f64, 0x4f121f81, 0x4f730a48]],
  [7, [ONES, ONES, ONES, ONES], [ONES, ONES], [0x5207ddc2, 0x45165e59, 0x4d8ee751, 0x8c52f662]],
  [
    7,
    [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    [0xa4093822, 0x299f31d0],
    [0x4dfccaba, 0x190a87f0, 0xc47362ba, 0xb6b5242a],
  ],
  [10, [0, 0, 0, 0], [0, 0], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]],
  [10, [ONES, ONES, ONES, ONES], [ONES, ONES], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]],
  [
    10,
    [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    [0xa4093822, 0x299f31d0],
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  ],
];

const word = fc.integer({ min: 0, max: ONES });
const blocks = fc.tuple(word, word, word, word);

describe("philox4x32", () => {
  it.each(published)(
    "gives the published block after %d rounds of counter %j, key %j",
    (rounds, counter, key, block) => {
      expect(philox4x32(counter, key, rounds)).toEqual(block);
    },
  );

  it("has seven rounds unless told", () => {
    expect(PHILOX_ROUNDS).toBe(7);
    expect(philox4x32([1, 2, 3, 4], [5, 6])).toEqual(philox4x32([1, 2, 3, 4], [5, 6], 7));
  });

  it("multiplies as 64-bit integers do", () => {
    fc.assert(
      fc.property(blocks, fc.tuple(word, word), (counter, key) => {
        const [c0, c1, c2, c3] = counter.map(BigInt) as [bigint, bigint, bigint, bigint];
        const [p0, p1] = [0xd2511f53n * c0, 0xcd9e8d57n * c2];
        const low = (product: bigint) => Number(product & 0xffff_ffffn);
        const expected = [Number((p1 >> 32n) ^ c1) ^ key[0], low(p1), Number((p0 >> 32n) ^ c3) ^ key[1], low(p0)];
        expect(philox4x32(counter, key, 1)).toEqual(expected.map((value) => value >>> 0));
      }),
      { seed: 1 },
    );
  });
});
