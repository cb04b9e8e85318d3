import { binsOf } from "../batch/bins.js";
import { mask } from "../batch/mask.js";
import type { HeadKind, Pack } from "../batch/pack.js";
import { treeSize } from "../batch/pack.js";
import { rowsOf } from "../batch/rows.js";
import type { RunnableModel } from "../model/onnx/imported.js";
import { POINTS } from "../peft/method.js";
import type { Feed, Run } from "./protocol.js";

/** The head that a pack was laid out for. */
const headOf = (pack: Pack): HeadKind => (pack.columns === null ? "tokens" : "columns");

/** What the head is asked for. */
const wantedOf = ({ columns, targets }: Pack): Run["feeds"] =>
  columns === null
    ? { targets: { data: targets, dims: [targets.length] } }
    : { columns: { data: columns, dims: [columns.length], shift: "none" } };

/** A pack as a run of an imported graph: R rows of L tokens. */
const paddedRun = (pack: Pack): Run => {
  const { count, length, take, ...rows } = rowsOf(pack);
  const dims = [count, length];
  const feed = (data: Int32Array): Feed => ({ data, dims });
  return {
    graph: headOf(pack),
    feeds: {
      ...{ ids: feed(rows.ids), real: feed(rows.real), positions: feed(rows.positions), types: feed(rows.types) },
      take: { data: take, dims: [take.length], shift: "tokens" },
      ...wantedOf(pack),
    },
  };
};

/**
 * Tokens, and where some are virtual, which: those have the ids −1, −2, …, and stand in the vocabulary's first place.
 * @param lead how many virtual tokens the model has
 */
export const tokenFeeds = (ids: Int32Array, lead = 0): Run["feeds"] => {
  const dims = [ids.length];
  if (lead === 0) return { ids: { data: ids, dims } };
  return {
    ids: { data: ids.map((id) => Math.max(id, 0)), dims },
    virtual: { data: ids.map((id) => (id < 0 ? -1 - id : 0)), dims, shift: lead },
    real: { data: Float32Array.from(ids, (id) => (id < 0 ? 0 : 1)), dims: [ids.length, 1] },
  };
};

/**
 * A pack as a run: T tokens, P places to score from, and for one-token options the C columns of the head.
 *
 * @param rows the training rows that the pack's trees are, where their hidden states are to be kept or are kept
 */
export const runOf = (family: RunnableModel, pack: Pack, rows?: readonly number[]): Run => {
  if ("imported" in family) return paddedRun(pack);
  const tokens = pack.ids.length;
  const places = Object.entries(family.places(pack)).map(([name, { data, width }]): [string, Feed] => [
    name,
    { data, dims: width === undefined ? [tokens] : [tokens, width] },
  ]);
  const head = headOf(pack);
  const bins = binsOf(pack);
  const masks = Object.entries(family.masks).map(([name, sight]): [string, Feed] => [
    name,
    { data: mask(pack, bins, sight), dims: [bins.count, 1, 1, bins.size, bins.size] },
  ]);
  const feeds: Run["feeds"] = {
    ...tokenFeeds(pack.ids, family.lead),
    ...Object.fromEntries([...places, ...masks]),
    slots: { data: bins.slots, dims: [bins.count, bins.size], shift: "tokens" },
    back: { data: bins.back, dims: [tokens], shift: "slots" },
    point: { data: new Int32Array(bins.count), dims: [bins.count], shift: 1 },
    take: { data: pack.take, dims: [pack.take.length], shift: "tokens" },
    ...wantedOf(pack),
  };
  if (rows === undefined) return { graph: head, feeds };
  return { graph: head, feeds, rows: pack.trees.map((tree, i) => ({ row: rows[i] ?? -1, tokens: treeSize(tree) })) };
};

type Data = Feed["data"];

/** `points` copies end to end; `by` is added to each element, once more in every copy. */
const tiled = ({ data, dims: [first = 0, ...rest] }: Feed, points: number, by: number): Feed => {
  const all = new (data.constructor as new (length: number) => Data)(points * data.length);
  for (let point = 0; point < points; point++) {
    const start = point * data.length;
    all.set(data as never, start);
    if (by !== 0 && all instanceof Int32Array)
      for (let i = start; i < start + data.length; i++) all[i] = (all[i] ?? 0) + point * by;
  }
  return { data: all, dims: [points * first, ...rest] };
};

const elements = (feed: Feed | undefined): number => feed?.data.length ?? 0;

/** A run's tokens at one point, padding included. */
export const tokensOf = ({ ids }: Run["feeds"]): number => elements(ids);

/** Feeds for `points` points at once. */
export const repeated = (feeds: Run["feeds"], points: number): Run["feeds"] => {
  const number: Feed = { data: BigInt64Array.of(BigInt(points)), dims: [1] };
  if (points === 1) return { ...feeds, [POINTS]: number };
  const sizes = { tokens: tokensOf(feeds), slots: elements(feeds.slots) };
  const entries = Object.entries(feeds).map(([name, feed]): [string, Feed] => {
    if (feed.shift === "none") return [name, feed];
    const by = typeof feed.shift === "number" ? feed.shift : feed.shift === undefined ? 0 : sizes[feed.shift];
    return [name, tiled(feed, points, by)];
  });
  return { ...Object.fromEntries(entries), [POINTS]: number };
};
