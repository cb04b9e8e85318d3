import { mask } from "../batch/mask.js";
import type { HeadKind, Pack } from "../batch/pack.js";
import { treeSize } from "../batch/pack.js";
import type { BoundFamily } from "../model/family.js";
import type { Run } from "./protocol.js";

/** The head that a pack was laid out for. */
const headOf = (pack: Pack): HeadKind => (pack.columns === null ? "tokens" : "columns");

/**
 * A pack as a run: T tokens, P places to score from, and for one-token options the C columns of the head.
 *
 * @param rows the training rows that the pack's trees are, where their hidden states are to be kept or are kept
 */
export const runOf = (family: BoundFamily, pack: Pack, rows?: readonly number[]): Run => {
  const tokens = pack.ids.length;
  const { cos, sin } = family.rotary(pack.positions, pack.rowLengths);
  const width = cos.length / tokens;
  const head = headOf(pack);
  const wanted = pack.columns ?? pack.targets;
  const feeds = {
    ids: { data: pack.ids, dims: [tokens] },
    cos: { data: cos, dims: [tokens, width] },
    sin: { data: sin, dims: [tokens, width] },
    mask: { data: mask(pack), dims: [tokens, tokens] },
    take: { data: pack.take, dims: [pack.take.length] },
    [head === "columns" ? "columns" : "targets"]: { data: wanted, dims: [wanted.length] },
  };
  if (rows === undefined) return { graph: head, feeds };
  return { graph: head, feeds, rows: pack.trees.map((tree, i) => ({ row: rows[i] ?? -1, tokens: treeSize(tree) })) };
};
