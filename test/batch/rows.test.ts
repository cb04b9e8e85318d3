import fc from "fast-check";
import { expect, test } from "vitest";
import { packs } from "../../src/batch/pack.js";
import { rowsOf } from "../../src/batch/rows.js";
import { anyTree } from "./trees.js";

/* A pack as padded rows: every place of it stands where its own path leads, with the same tokens before it. */

test("a place's row up to it is the place's own path, and the rest is padding", () => {
  fc.assert(
    fc.property(fc.array(anyTree, { minLength: 1, maxLength: 5 }), (trees) => {
      for (const pack of packs(trees, { head: "tokens" })) {
        const { count, length, ids, real, positions, take } = rowsOf(pack);
        expect(ids.length).toBe(count * length);
        pack.take.forEach((place, p) => {
          const [root = 0, fork = 0, own = 0] = [pack.root[place], pack.fork[place], pack.own[place]];
          const path = [...pack.ids.slice(root, fork), ...pack.ids.slice(own, place + 1)];
          const cell = take[p] ?? -1;
          const start = cell - (cell % length);
          expect([...ids.slice(start, cell + 1)]).toEqual(path);
          expect([...positions.slice(start, cell + 1)]).toEqual(path.map((_, i) => i));
          expect(real.slice(start, cell + 1).every((one) => one === 1)).toBe(true);
        });
        // Tokens first, padding behind them: a graph takes the sum of a row's mask for its length.
        for (let row = 0; row < count; row++) {
          const mask = [...real.slice(row * length, (row + 1) * length)];
          expect(mask).toEqual(mask.toSorted((a, b) => b - a));
          expect(mask[0]).toBe(1);
        }
      }
    }),
    { numRuns: 100, seed: 3 },
  );
});
