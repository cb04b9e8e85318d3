import { type InferenceSession, Tensor } from "onnxruntime-node";
import { isCache, nextCaches } from "../model/decoding.js";
import type { BoundFamily, Sight } from "../model/family.js";
import { POINTS } from "../peft/method.js";
import type { Feed, Run } from "./protocol.js";

/** The name of the graph that goes on with a row. */
export const DECODING = "decoding";

/** What is remembered of a row: keys and values of its tokens so far, as inputs of the next run. */
export interface Caches {
  readonly tokens: number;
  readonly inputs: Readonly<Record<string, Tensor>>;
}

/** Caches of no tokens, of the shapes that a decoding graph has for them. */
export const noCaches = ({ inputMetadata }: InferenceSession): Caches => {
  const empty = inputMetadata.flatMap((input): [string, Tensor][] => {
    if (!input.isTensor || !isCache(input.name)) return [];
    const dims = input.shape.map((dim) => (typeof dim === "number" ? dim : 0));
    return [[input.name, new Tensor("float32", new Float32Array(0), dims)]];
  });
  return { tokens: 0, inputs: Object.fromEntries(empty) };
};

/** @param tokens the row's so far, those of the run included */
export const cachesAfter = (outputs: InferenceSession.ReturnType, tokens: number): Caches => ({
  tokens,
  inputs: nextCaches(outputs as Readonly<Record<string, Tensor>>),
});

/** Additive mask of a row's new tokens over all of its tokens so far, [tokens, past + tokens]: 0 where one is seen, −∞ elsewhere. */
const rowMask = (past: number, tokens: number, { window = Number.POSITIVE_INFINITY }: Sight): Float32Array => {
  const width = past + tokens;
  const out = new Float32Array(tokens * width).fill(Number.NEGATIVE_INFINITY);
  for (let i = 0; i < tokens; i++) {
    const position = past + i;
    out.fill(0, i * width + Math.max(0, position - window + 1), i * width + position + 1);
  }
  return out;
};

/** Where a row's new tokens stand, after `past` others. */
const placesOf = (family: BoundFamily, past: number, tokens: number) =>
  family.places({
    positions: Int32Array.from({ length: tokens }, (_, i) => past + i),
    rowLengths: new Int32Array(tokens).fill(past + tokens),
    types: new Int32Array(tokens),
  });

/**
 * Feeds of a decoding graph for a row's next tokens, at one point; the logits are those after the last of them.
 *
 * @param past how many tokens of the row have been run before
 */
export const decodingFeeds = (family: BoundFamily, ids: readonly number[], past: number): Run["feeds"] => {
  const tokens = ids.length;
  const places = Object.entries(placesOf(family, past, tokens)).map(([name, { data, width }]): [string, Feed] => [
    name,
    { data, dims: width === undefined ? [tokens] : [tokens, width] },
  ]);
  const masks = Object.entries(family.masks).map(([name, sight]): [string, Feed] => [
    name,
    { data: rowMask(past, tokens, sight), dims: [1, 1, 1, tokens, past + tokens] },
  ]);
  return {
    ids: { data: Int32Array.from(ids), dims: [tokens] },
    ...Object.fromEntries([...places, ...masks]),
    take: { data: Int32Array.of(tokens - 1), dims: [1] },
    [POINTS]: { data: BigInt64Array.of(1n), dims: [1] },
  };
};

/**
 * Whether earlier tokens stand elsewhere once the row has `length` tokens: rotary tables may depend on a row's length (LongRoPE), and then what is
 * remembered of a shorter row is of no use.
 */
export const movesEarlier = (family: BoundFamily, before: number, length: number): boolean => {
  const at = (rowLength: number) =>
    family.places({ positions: Int32Array.of(1), rowLengths: Int32Array.of(rowLength), types: Int32Array.of(0) });
  const [old, now] = [at(before), at(length)];
  return Object.entries(now).some(([name, { data }]) => data.some((value, i) => value !== old[name]?.data[i]));
};
