/** One way on from a shared context: an option, or a completion. */
export interface Branch {
  /** Tokens that follow the shared ones. */
  readonly ids: readonly number[];
  /** Ascending positions on the path `shared + ids` (from 1) of the tokens whose log-probability counts. */
  readonly scored: readonly number[];
}

/** One example as a tree of tokens: branches off a shared context, so that the context is computed once. */
export interface TokenTree {
  readonly shared: readonly number[];
  readonly branches: readonly Branch[];
  /**
   * The place among the shared tokens that every branch's one token is read from: a mask's, or the first one's of a classifier's row. Absent where each token is predicted
   * from the one before it.
   */
  readonly at?: number;
  /** Of each shared token, 1 where it belongs to the second text of a pair. */
  readonly types?: readonly number[];
  /** The right branch, or `UNLABELLED`. */
  readonly label: number;
  /** Other branches that are right, too. */
  readonly also?: readonly number[];
  /** Every right answer, where the model writes its own after the shared tokens. */
  readonly golds?: readonly string[];
  /** Where the example stands in its file, counted from 1. */
  readonly line: number;
  /** Tokens cut because the model's context is shorter: from the left of the longest path, or on either side of a mask, or from the ends of texts. */
  readonly truncated: number;
}

/** Whether a branch is a right one. */
export const isRight = ({ label, also = [] }: Pick<TokenTree, "label" | "also">, branch: number): boolean =>
  branch === label || also.includes(branch);

/** The tree with nothing but its right branch: what a task trained with the language-model loss learns from. */
export const rightBranchOnly = (tree: TokenTree): TokenTree => {
  const right = tree.branches[tree.label];
  if (right === undefined)
    throw new RangeError(`line ${tree.line}: no branch ${tree.label} of ${tree.branches.length}`);
  return { ...tree, branches: [right], label: 0 };
};

/** The tree behind `count` virtual tokens, whose ids are −1, −2, …; a classifier's row is still read at its first token, which is one of them. */
export const led = (tree: TokenTree, count: number, isClass: boolean): TokenTree => {
  if (count === 0) return tree;
  const { shared, branches, at, types } = tree;
  const none = new Array<number>(count).fill(0);
  return {
    ...tree,
    shared: [...none.map((_, i) => -1 - i), ...shared],
    branches: branches.map(({ ids, scored }) => ({ ids, scored: scored.map((position) => position + count) })),
    ...(at === undefined || isClass ? {} : { at: at + count }),
    ...(types === undefined ? {} : { types: [...none, ...types] }),
  };
};
