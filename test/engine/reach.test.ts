import { describe, expect, it } from "vitest";
import { reachOf } from "../../src/engine/reach.js";
import { key } from "./trained.js";

// Numbers with a gap, in no order, more than one tensor a block, and an embedding and a norm that are in none.
const layers = [11, 3, 4, 5, 6, 7, 9, 10];
const slots = [
  {},
  ...layers.flatMap((layer) => [
    { layer, block: 0 },
    { layer, block: 1 },
  ]),
  {},
];
const restingAt = (reach: ReturnType<typeof reachOf>, step: number, query = 0): readonly number[] =>
  layers.filter((layer) => !reach({ key: key(step, query) }, { layer }));

describe("the reach of a key", () => {
  it("is everything but ⌊drop·ℓ⌋ blocks, whatever the key, and always what is in no block", () => {
    for (const [drop, count] of [
      [0, 0],
      [0.1, 0],
      [0.125, 1],
      [0.5, 4],
      [0.75, 6],
      [0.99, 7],
    ] as const) {
      const reach = reachOf({ kind: "layers", drop }, slots);
      for (let step = 0; step < 50; step++) {
        expect(restingAt(reach, step)).toHaveLength(count);
        expect(reach({ key: key(step) }, {})).toBe(true);
      }
    }
  });

  it("is the same for all tensors of a block, every time it is asked for, whoever asks", () => {
    const [reach, other] = [0, 1].map(() => reachOf({ kind: "layers", drop: 0.5 }, slots));
    // More keys than are remembered.
    const asked = () => Array.from({ length: 1200 }, (_, step) => restingAt(reach!, step));
    const first = asked();
    expect(asked()).toEqual(first);
    expect(restingAt(other!, 1199)).toEqual(first[1199]);
    expect(restingAt(reachOf({ kind: "layers", drop: 0.5 }, slots.toReversed()), 7)).toEqual(first[7]);
  });

  it("takes each block with the chance 1 − drop, alone and in pairs", () => {
    const reach = reachOf({ kind: "layers", drop: 0.75 }, slots);
    const draws = 2000;
    const counts = new Map(layers.map((layer) => [layer, 0]));
    let together = 0;
    for (let step = 0; step < draws; step++) {
      const resting = restingAt(reach, step);
      for (const layer of layers) if (!resting.includes(layer)) counts.set(layer, counts.get(layer)! + 1);
      if (!resting.includes(3) && !resting.includes(4)) together++;
    }
    const deviation = Math.sqrt(draws * 0.25 * 0.75);
    for (const count of counts.values()) expect(Math.abs(count - draws / 4)).toBeLessThan(3 * deviation);
    // Two of eight, without replacement: (2/8)·(1/7).
    const pair = 1 / 28;
    expect(Math.abs(together - draws * pair)).toBeLessThan(3 * Math.sqrt(draws * pair * (1 - pair)));
  });

  it("differs between the queries of a step", () => {
    const reach = reachOf({ kind: "layers", drop: 0.5 }, slots);
    const sets = Array.from({ length: 12 }, (_, query) => String(restingAt(reach, 3, query)));
    expect(new Set(sets).size).toBeGreaterThan(8);
  });

  it("is one block where a term says so, and of that block what is not at rest", () => {
    const dense = reachOf({ kind: "dense" }, slots);
    const partly = reachOf({ kind: "layers", drop: 0.5 }, slots);
    const at = restingAt(partly, 2);
    for (const layer of layers) {
      for (const block of [0, 1]) {
        expect(dense({ key: key(2) }, { layer, block })).toBe(true);
        expect(dense({ key: key(2), block: 1 }, { layer, block })).toBe(block === 1);
        expect(partly({ key: key(2), block: 1 }, { layer, block })).toBe(block === 1 && !at.includes(layer));
      }
    }
    expect(dense({ key: key(2), block: 0 }, {})).toBe(false);
  });
});
