import { philox4x32 } from "./philox.js";

/** Independent sources of randomness under one seed; the number is part of every journal's meaning. */
const streams = { noise: 0, mask: 1, layers: 2, factor: 3, data: 4, init: 5, sample: 6 } as const;

export type Stream = keyof typeof streams;

/** Names a draw: everything random is a function of a key, a tensor and an element's index. */
export interface Key {
  /** 64 bits, unsigned. */
  readonly seed: bigint;
  readonly stream: Stream;
  /** Below 2³². */
  readonly step: number;
  /** Below 2²⁴. */
  readonly query: number;
}

const LOW_WORD = 0xffff_ffffn;
const QUERIES = 2 ** 24;

const words = (value: bigint): [number, number] => [Number(value & LOW_WORD), Number((value >> 32n) & LOW_WORD)];

/** A tensor's identity in its noise: the 64-bit FNV-1a hash of its canonical name's UTF-8 bytes. */
export const tensorId = (name: string): bigint =>
  new TextEncoder()
    .encode(name)
    .reduce((hash, byte) => BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100_0000_01b3n), 0xcbf2_9ce4_8422_2325n);

/**
 * The stream of one tensor's elements under a key: four uint32 words, of which the first two are the key and the last two the
 * upper half of the counter of the Philox call that makes a block of elements. For a given seed this is one to one, since
 * Philox is a bijection on counters, so no two of (tensor, step, query, stream) ever share a block.
 *
 * @throws RangeError when `step` or `query` does not fit its field
 */
export const tensorKey = ({ seed, stream, step, query }: Key, tensor: bigint): Uint32Array => {
  if (!Number.isInteger(step) || step < 0 || step > 0xffff_ffff) throw new RangeError(`step ${step} is not a uint32`);
  if (!Number.isInteger(query) || query < 0 || query >= QUERIES)
    throw new RangeError(`query ${query} is not below 2^24`);
  return Uint32Array.from(philox4x32([...words(tensor), step, streams[stream] * QUERIES + query], words(seed)));
};
