import fc from "fast-check";
import type { TokenTree } from "../../src/data/tree.js";

const token = fc.integer({ min: 0, max: 9 });

const branch = (shared: number) =>
  fc
    .record({
      ids: fc.array(token, { minLength: 1, maxLength: 6 }),
      chosen: fc.array(fc.boolean(), { minLength: 20, maxLength: 20 }),
    })
    .map(({ ids, chosen }) => {
      const length = shared + ids.length;
      const positions = Array.from({ length: length - 1 }, (_, i) => i + 1).filter((p) => chosen[p % chosen.length]);
      return { ids, scored: positions.length > 0 ? positions : [length - 1] };
    });

/** Any tree: scored tokens anywhere on a path but its first place. */
export const anyTree: fc.Arbitrary<TokenTree> = fc.array(token, { minLength: 1, maxLength: 12 }).chain((shared) =>
  fc.array(branch(shared.length), { minLength: 1, maxLength: 4 }).map((branches) => ({
    shared,
    branches,
    label: 0,
    line: 1,
    truncated: 0,
  })),
);

/** A tree whose options are one token each. */
export const oneTokenTree: fc.Arbitrary<TokenTree> = fc
  .record({
    shared: fc.array(token, { minLength: 1, maxLength: 12 }),
    options: fc.uniqueArray(token, { minLength: 2, maxLength: 4 }),
  })
  .chain(({ shared, options }) =>
    fc.nat(options.length - 1).map((label) => ({
      shared,
      branches: options.map((id) => ({ ids: [id], scored: [shared.length] })),
      label,
      line: 1,
      truncated: 0,
    })),
  );
