import { mask } from "../batch/mask.js";
import type { Pack } from "../batch/pack.js";
import type { BoundFamily } from "../model/family.js";
import type { Feeds } from "./protocol.js";

/** A pack as the graph's inputs: T tokens, P places to score from, and for one-token options the C columns of the head. */
export const feedsOf = (family: BoundFamily, pack: Pack): Feeds => {
  const tokens = pack.ids.length;
  const { cos, sin } = family.rotary(pack.positions, pack.rowLengths);
  const width = cos.length / tokens;
  return {
    ids: { data: pack.ids, dims: [tokens] },
    cos: { data: cos, dims: [tokens, width] },
    sin: { data: sin, dims: [tokens, width] },
    mask: { data: mask(pack), dims: [tokens, tokens] },
    take: { data: pack.take, dims: [pack.take.length] },
    ...(pack.columns === null
      ? { targets: { data: pack.targets, dims: [pack.targets.length] } }
      : { columns: { data: pack.columns, dims: [pack.columns.length] } }),
  };
};
