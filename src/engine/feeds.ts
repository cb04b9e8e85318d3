import { binsOf } from "../batch/bins.js";
import { mask } from "../batch/mask.js";
import type { HeadKind, Pack } from "../batch/pack.js";
import { treeSize } from "../batch/pack.js";
import type { BoundFamily } from "../model/family.js";
import { POINTS } from "../peft/method.js";
import { HIDDEN } from "./plan.js";
import type { Feed, Run } from "./protocol.js";

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
  const bins = binsOf(pack);
  const wanted = pack.columns ?? pack.targets;
  const feeds = {
    ids: { data: pack.ids, dims: [tokens] },
    cos: { data: cos, dims: [tokens, width] },
    sin: { data: sin, dims: [tokens, width] },
    slots: { data: bins.slots, dims: [bins.count, bins.size] },
    back: { data: bins.back, dims: [tokens] },
    mask: { data: mask(pack, bins), dims: [bins.count, 1, 1, bins.size, bins.size] },
    take: { data: pack.take, dims: [pack.take.length] },
    [head === "columns" ? "columns" : "targets"]: { data: wanted, dims: [wanted.length] },
  };
  if (rows === undefined) return { graph: head, feeds };
  return { graph: head, feeds, rows: pack.trees.map((tree, i) => ({ row: rows[i] ?? -1, tokens: treeSize(tree) })) };
};

type Data = Feed["data"];
type Repeat = (feed: Feed, points: number, sizes: { readonly tokens: number; readonly slots: number }) => Feed;

/** `points` copies end to end; `shift` is added to each element, once more in every copy. */
const tiled = ({ data, dims: [first = 0, ...rest] }: Feed, points: number, shift = 0): Feed => {
  const all = new (data.constructor as new (length: number) => Data)(points * data.length);
  for (let point = 0; point < points; point++) {
    const start = point * data.length;
    all.set(data as never, start);
    if (shift !== 0 && all instanceof Int32Array)
      for (let i = start; i < start + data.length; i++) all[i] = (all[i] ?? 0) + point * shift;
  }
  return { data: all, dims: [points * first, ...rest] };
};

const same: Repeat = (feed) => feed;
const again: Repeat = (feed, points) => tiled(feed, points);
const places: Repeat = (feed, points, { tokens }) => tiled(feed, points, tokens);
const slots: Repeat = (feed, points, sizes) => tiled(feed, points, sizes.slots);

/** How the feeds of a pack become those of the same pack at several points, laid end to end. */
const repeats: Readonly<Record<string, Repeat>> = {
  ids: again,
  cos: again,
  sin: again,
  [HIDDEN]: again,
  slots: places,
  back: slots,
  mask: again,
  take: places,
  targets: again,
  columns: same,
};

const elements = (feed: Feed | undefined): number => feed?.data.length ?? 0;

/** A run's tokens at one point. */
export const tokensOf = ({ back }: Run["feeds"]): number => elements(back);

/** Feeds for `points` points at once. */
export const repeated = (feeds: Run["feeds"], points: number): Run["feeds"] => {
  const number: Feed = { data: BigInt64Array.of(BigInt(points)), dims: [1] };
  if (points === 1) return { ...feeds, [POINTS]: number };
  const sizes = { tokens: tokensOf(feeds), slots: elements(feeds.slots) };
  const entries = Object.entries(feeds).map(([name, feed]) => {
    const repeat = repeats[name];
    if (repeat === undefined) throw new Error(`no rule for ${name} at several points`);
    return [name, repeat(feed, points, sizes)] as const;
  });
  return { ...Object.fromEntries(entries), [POINTS]: number };
};
