import type { Branch, TokenTree } from "../data/tree.js";

/** Trees laid end to end as one sequence of T real tokens, with P places whose hidden state reaches the head. */
export interface Pack {
  readonly trees: readonly TokenTree[];
  /** [T] token ids. */
  readonly ids: Int32Array;
  /** [T] position of each token on its own path: restarts at every tree, branches count on from the shared context. */
  readonly positions: Int32Array;
  /** [T] length of the longest path of the token's tree, for rotary scaling that depends on it. */
  readonly rowLengths: Int32Array;
  /** [T] 1 in the second text of a pair, 0 elsewhere. */
  readonly types: Int32Array;
  /** A token sees places `[root, fork)`, the shared context of a branch, and `[own, itself]`. [T] each. */
  readonly root: Int32Array;
  readonly fork: Int32Array;
  readonly own: Int32Array;
  /** [P] places whose hidden state is needed. */
  readonly take: Int32Array;
  /** [P] the token scored from each place; empty where the head computes columns. */
  readonly targets: Int32Array;
  /** [C] ascending token ids that the head computes logits of, where every option is one token; else null. */
  readonly columns: Int32Array | null;
  /** [K] where in the head's flat output ([P] log-probabilities or [P, C] logits) each scored token is read. */
  readonly cells: Int32Array;
  /** [K] which branch of the pack (counted through all its trees) each scored token belongs to. */
  readonly owners: Int32Array;
}

/** What the head computes: `tokens` log-probabilities of given tokens; `columns` the logits of a few tokens. */
export type HeadKind = "tokens" | "columns";

const lastScored = ({ scored }: Branch): number => scored.at(-1) ?? 0;

/**
 * How many tokens of a path must be computed. A token that is only scored, never scored *from*, is not: the last token of
 * an option is a target of the head and no input of the model, so one-token options cost nothing beyond their context.
 */
const extent = ({ shared, branches, at }: TokenTree) =>
  at === undefined
    ? {
        shared: Math.min(shared.length, Math.max(0, ...branches.map(lastScored))),
        branches: branches.map((branch) =>
          Math.max(0, Math.min(branch.ids.length, lastScored(branch) - shared.length)),
        ),
      }
    : { shared: shared.length, branches: branches.map(() => 0) };

/** Packed places of a tree. */
export const treeSize = (tree: TokenTree): number => {
  const { shared, branches } = extent(tree);
  return branches.reduce((sum, length) => sum + length, shared);
};

const isOneToken = ({ shared, branches, at }: TokenTree): boolean =>
  branches.length > 1 &&
  branches.every(
    ({ ids, scored }) => ids.length === 1 && (at !== undefined || (scored.length === 1 && scored[0] === shared.length)),
  );

/** The cheapest head that the option loss of these trees needs: `columns` if every option is one token. */
export const headFor = (trees: readonly TokenTree[]): HeadKind => (trees.every(isOneToken) ? "columns" : "tokens");

/** Groups of about equal size in the given order: a tree goes where its middle falls. Long trees end up alone. */
const balanced = (trees: readonly TokenTree[], budget: number): readonly TokenTree[][] => {
  const sizes = trees.map(treeSize);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const count = Math.max(1, Math.ceil(total / budget));
  const groups: TokenTree[][] = Array.from({ length: count }, () => []);
  let before = 0;
  trees.forEach((tree, i) => {
    const size = sizes[i] ?? 0;
    const group = total === 0 ? 0 : Math.min(count - 1, Math.floor(((before + size / 2) * count) / total));
    groups[group]?.push(tree);
    before += size;
  });
  return groups.filter((group) => group.length > 0);
};

const layOut = (trees: readonly TokenTree[], head: HeadKind): Pack => {
  const ids: number[] = [];
  const positions: number[] = [];
  const rowLengths: number[] = [];
  const types: number[] = [];
  const root: number[] = [];
  const fork: number[] = [];
  const own: number[] = [];
  const take: number[] = [];
  const targets: number[] = [];
  const owners: number[] = [];
  let owner = 0;
  for (const tree of trees) {
    const { shared, branches } = tree;
    const kept = extent(tree);
    const start = ids.length;
    const trunk = start + shared.length;
    const length = shared.length + Math.max(0, ...branches.map((branch) => branch.ids.length));
    const lay = (tokens: readonly number[], count: number, position: number, forkAt: number) => {
      const ownStart = ids.length;
      for (let i = 0; i < count; i++) {
        ids.push(tokens[i] ?? 0);
        positions.push(position + i);
        rowLengths.push(length);
        types.push(tree.types?.[position + i] ?? 0);
        root.push(start);
        fork.push(forkAt);
        own.push(ownStart);
      }
      return ownStart;
    };
    lay(shared, kept.shared, 0, start);
    branches.forEach((branch, b) => {
      if (tree.at !== undefined) {
        take.push(start + tree.at);
        targets.push(branch.ids[0] ?? 0);
        owners.push(owner++);
        return;
      }
      const ownStart = lay(branch.ids, kept.branches[b] ?? 0, shared.length, trunk);
      for (const position of branch.scored) {
        const from = position - 1;
        const target = position < shared.length ? shared[position] : branch.ids[position - shared.length];
        if (from < 0 || target === undefined) {
          throw new RangeError(`line ${tree.line}: no token ${position} to score`);
        }
        take.push(from < shared.length ? start + from : ownStart + from - shared.length);
        targets.push(target);
        owners.push(owner);
      }
      owner++;
    });
  }
  const placed = {
    trees,
    ids: Int32Array.from(ids),
    positions: Int32Array.from(positions),
    rowLengths: Int32Array.from(rowLengths),
    types: Int32Array.from(types),
    root: Int32Array.from(root),
    fork: Int32Array.from(fork),
    own: Int32Array.from(own),
    owners: Int32Array.from(owners),
  };
  if (head === "tokens") {
    return {
      ...placed,
      take: Int32Array.from(take),
      targets: Int32Array.from(targets),
      columns: null,
      cells: Int32Array.from(targets, (_, k) => k),
    };
  }
  // All options of a tree are scored from the same place: one row of the output a tree, one column a distinct option.
  const places = [...new Set(take)];
  const columns = [...new Set(targets)].sort((a, b) => a - b);
  const row = new Map(places.map((place, r) => [place, r]));
  const column = new Map(columns.map((id, c) => [id, c]));
  const cell = (target: number, k: number) =>
    (row.get(take[k] ?? -1) ?? 0) * columns.length + (column.get(target) ?? 0);
  return {
    ...placed,
    take: Int32Array.from(places),
    targets: new Int32Array(0),
    columns: Int32Array.from(columns),
    cells: Int32Array.from(targets, cell),
  };
};

/**
 * Divides trees into packs of about `budget` tokens (one long tree is a pack of its own). Order is kept and nothing but the
 * trees and the options decides, so the same data makes the same packs anywhere.
 *
 * @param options.head `auto` takes `columns` if every option of every tree is one token; the language-model loss needs `tokens`,
 *   since it needs the whole vocabulary's normaliser
 * @throws RangeError for `columns` over trees whose options are longer
 */
export const packs = (
  trees: readonly TokenTree[],
  { budget = 256, head = "auto" }: { budget?: number; head?: HeadKind | "auto" } = {},
): readonly Pack[] => {
  const kind = head === "auto" ? headFor(trees) : head;
  if (kind === "columns" && !trees.every(isOneToken)) throw new RangeError("columns need options of one token each");
  return balanced(trees, budget).map((group) => layOut(group, kind));
};
