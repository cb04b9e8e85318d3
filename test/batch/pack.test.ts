import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { binsOf } from "../../src/batch/bins.js";
import { mask } from "../../src/batch/mask.js";
import { headFor, type Pack, packs, treeSize } from "../../src/batch/pack.js";
import type { TokenTree } from "../../src/data/tree.js";
import { anyTree, oneTokenTree } from "./trees.js";

const trees = fc.array(anyTree, { minLength: 1, maxLength: 12 });

/** Which place sees which, [T, T] row-major: what the bins and the mask in each say together. */
const visibleIn = (pack: Pack): readonly boolean[] => {
  const bins = binsOf(pack);
  const binned = mask(pack, bins);
  const binOf = (place: number): number => Math.floor(bins.back[place]! / bins.size);
  const places = Array.from(pack.ids.keys());
  return places.flatMap((i) =>
    places.map((j) => binOf(i) === binOf(j) && binned[bins.back[i]! * bins.size + (bins.back[j]! % bins.size)] === 0),
  );
};

/** What the model sees at a place, by the mask: (position, token) in order of position. */
const contextAt = (pack: Pack, visible: readonly boolean[], place: number): string => {
  const size = pack.ids.length;
  const seen = Array.from(pack.ids, (id, j) => ({ id, j, position: pack.positions[j] ?? -1 }))
    .filter(({ j }) => visible[place * size + j])
    .sort((a, b) => a.position - b.position);
  expect(seen.map(({ position }) => position)).toEqual(seen.map((_, i) => i));
  return seen.map(({ id }) => id).join(",");
};

/** Every (context path → scored token) of a pack, with the branch that owns it, as the engine would compute it. */
const scoredByPack = (pack: Pack): string[] => {
  const visible = visibleIn(pack);
  const width = pack.columns?.length ?? 1;
  return Array.from(pack.cells, (cell, k) => {
    const place = pack.take[Math.floor(cell / width)] ?? -1;
    const target = pack.columns === null ? pack.targets[cell] : pack.columns[cell % width];
    return `${pack.owners[k]}: ${contextAt(pack, visible, place)} → ${target}`;
  });
};

/** The same from the definition: every branch as a row of its own. */
const scoredByRows = (some: readonly TokenTree[]): string[] =>
  some
    .flatMap(({ shared, branches }) => branches.map(({ ids, scored }) => ({ path: [...shared, ...ids], scored })))
    .flatMap(({ path, scored }, owner) => scored.map((p) => `${owner}: ${path.slice(0, p).join(",")} → ${path[p]}`));

describe("packs", () => {
  it("score what separate rows would score, from the same contexts, in the same order", () => {
    fc.assert(
      fc.property(trees, fc.integer({ min: 1, max: 80 }), (some, budget) => {
        for (const pack of packs(some, { budget, head: "tokens" }))
          expect(scoredByPack(pack)).toEqual(scoredByRows(pack.trees));
      }),
    );
  });

  it("the columns head scores the same, one place a tree, columns ascending and distinct", () => {
    fc.assert(
      fc.property(
        fc.array(oneTokenTree, { minLength: 1, maxLength: 10 }),
        fc.integer({ min: 1, max: 80 }),
        (some, budget) => {
          for (const pack of packs(some, { budget })) {
            expect(scoredByPack(pack)).toEqual(scoredByRows(pack.trees));
            expect(pack.take).toHaveLength(pack.trees.length);
            const columns = Array.from(pack.columns ?? []);
            expect(columns).toEqual([...new Set(columns)].sort((a, b) => a - b));
            expect(pack.targets).toHaveLength(0);
            // Option tokens are targets, never inputs.
            expect(Array.from(pack.ids)).toEqual(pack.trees.flatMap(({ shared }) => shared));
          }
        },
      ),
    );
  });

  it("keep the order and lose no tree", () => {
    fc.assert(
      fc.property(trees, fc.integer({ min: 1, max: 80 }), (some, budget) => {
        expect(packs(some, { budget }).flatMap((pack) => [...pack.trees])).toEqual(some);
      }),
    );
  });

  it("hold every token that something is scored from, once", () => {
    fc.assert(
      fc.property(trees, (some) => {
        const [pack, ...others] = packs(some, { budget: 1e9, head: "tokens" });
        expect(others).toEqual([]);
        const expected = some.flatMap(({ shared, branches }) => {
          const last = branches.map(({ scored }) => Math.max(...scored));
          const own = branches.flatMap(({ ids }, b) => ids.filter((_, i) => shared.length + i < (last[b] ?? 0)));
          return [...shared.filter((_, i) => i < Math.max(...last)), ...own];
        });
        expect(Array.from(pack?.ids ?? [])).toEqual(expected);
        expect(some.reduce((sum, tree) => sum + treeSize(tree), 0)).toBe(expected.length);
      }),
    );
  });

  it("are about equal in size: none above the even share by more than its two outer trees' halves", () => {
    fc.assert(
      fc.property(trees, fc.integer({ min: 4, max: 80 }), (some, budget) => {
        const total = some.reduce((sum, tree) => sum + treeSize(tree), 0);
        const count = Math.ceil(total / budget);
        const made = packs(some, { budget, head: "tokens" });
        expect(made.length).toBeLessThanOrEqual(count);
        for (const { trees: own, ids } of made) {
          const outer = (treeSize(own[0]!) + treeSize(own.at(-1)!)) / 2;
          expect(ids.length).toBeLessThanOrEqual(total / count + outer + 1e-9);
        }
      }),
    );
  });

  it("a long tree is a pack of its own", () => {
    const tree = (length: number): TokenTree => ({
      shared: Array.from({ length }, (_, i) => i),
      branches: [{ ids: [1], scored: [length] }],
      label: 0,
      line: 1,
      truncated: 0,
    });
    const sizes = packs([100, 2000, 60, 60].map(tree), { head: "tokens" }).map(({ trees: own }) => own.map(treeSize));
    expect(sizes).toEqual([[100], [2000], [60, 60]]);
    expect(
      packs(
        Array.from({ length: 16 }, () => tree(14)),
        { head: "tokens" },
      ),
    ).toHaveLength(1);
  });

  it("rows restart at zero, branches count on, and know their tree's longest path", () => {
    const tree: TokenTree = {
      shared: [5, 6],
      branches: [
        { ids: [7, 8, 9], scored: [2, 3, 4] },
        { ids: [7, 7], scored: [2, 3] },
      ],
      label: 0,
      line: 1,
      truncated: 0,
    };
    const [pack] = packs([tree, tree]);
    expect(Array.from(pack?.ids ?? [])).toEqual([5, 6, 7, 8, 7, 5, 6, 7, 8, 7]);
    expect(Array.from(pack?.positions ?? [])).toEqual([0, 1, 2, 3, 2, 0, 1, 2, 3, 2]);
    expect(Array.from(pack?.rowLengths ?? [])).toEqual(Array(10).fill(5));
    expect(Array.from(pack?.take ?? [])).toEqual([1, 2, 3, 1, 4, 6, 7, 8, 6, 9]);
  });

  it("heads: columns only where every option of every tree is one token, and never for a lone completion", () => {
    const one: TokenTree = {
      shared: [1],
      branches: [
        { ids: [2], scored: [1] },
        { ids: [3], scored: [1] },
      ],
      label: 0,
      line: 1,
      truncated: 0,
    };
    const lone: TokenTree = { ...one, branches: [{ ids: [2], scored: [1] }] };
    const longer: TokenTree = {
      ...one,
      branches: [
        { ids: [2], scored: [1] },
        { ids: [3, 4], scored: [1, 2] },
      ],
    };
    expect(headFor([one, one])).toBe("columns");
    expect(headFor([one, lone])).toBe("tokens");
    expect(headFor([one, longer])).toBe("tokens");
    expect(packs([one], { head: "tokens" })[0]?.columns).toBeNull();
    expect(() => packs([longer], { head: "columns" })).toThrow(RangeError);
  });
});

describe("mask", () => {
  it("equals its definition: same tree, on the token's own path, not later", () => {
    fc.assert(
      fc.property(trees, (some) => {
        for (const pack of packs(some, { budget: 40, head: "tokens" })) {
          // Which tree and branch (-1: shared) each place belongs to, from the trees alone.
          const places = pack.trees.flatMap(({ shared, branches }, tree) => {
            const last = branches.map(({ scored }) => Math.max(...scored));
            return [
              ...shared.filter((_, i) => i < Math.max(...last)).map(() => ({ tree, branch: -1 })),
              ...branches.flatMap(({ ids }, branch) =>
                ids.filter((_, i) => shared.length + i < (last[branch] ?? 0)).map(() => ({ tree, branch })),
              ),
            ];
          });
          const expected = places.flatMap((a, i) =>
            places.map((b, j) => a.tree === b.tree && j <= i && (b.branch === -1 || b.branch === a.branch)),
          );
          expect(visibleIn(pack)).toEqual(expected);
        }
      }),
    );
  });
});

describe("bins", () => {
  it("hold every place once, a tree's side by side, in bins no larger than they must be", () => {
    fc.assert(
      fc.property(trees, fc.integer({ min: 1, max: 200 }), (some, budget) => {
        for (const pack of packs(some, { budget, head: "tokens" })) {
          const { count, size, slots, back } = binsOf(pack);
          expect(slots).toHaveLength(count * size);
          expect(Array.from(back, (slot) => slots[slot])).toEqual(Array.from(pack.ids.keys()));
          expect(new Set(back).size).toBe(back.length);
          const longest = Math.max(...pack.trees.map(treeSize));
          expect(size).toBe(Math.max(longest, Math.min(32, pack.ids.length)));
          for (const [place, start] of pack.root.entries()) {
            expect(back[place]! - back[start]!).toBe(place - start);
            expect(Math.floor(back[place]! / size)).toBe(Math.floor(back[start]! / size));
          }
        }
      }),
    );
  });

  it("have no row of the mask that sees nothing, empty slots included", () => {
    fc.assert(
      fc.property(trees, (some) => {
        for (const pack of packs(some, { head: "tokens" })) {
          const bins = binsOf(pack);
          const binned = mask(pack, bins);
          expect(binned).toHaveLength(bins.count * bins.size ** 2);
          for (let row = 0; row < bins.count * bins.size; row++)
            expect(binned.subarray(row * bins.size, (row + 1) * bins.size)).toContain(0);
        }
      }),
    );
  });
});
