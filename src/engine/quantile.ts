/** Bits of a magnitude that a counting pass looks at. */
const HALF = 16;

/**
 * The magnitude that `fraction` of the values do not exceed, exactly: of n values the ⌈fraction·n⌉-th smallest |value|. Two counting passes
 * over the bits, which order magnitudes as numbers do.
 */
export const magnitudeBelow = (values: Float32Array<ArrayBuffer>, fraction: number): number => {
  const rank = Math.max(1, Math.ceil(fraction * values.length));
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const upper = (word: number): number => (word & 0x7fff_ffff) >>> HALF;
  /** The bin that holds the value of a rank, and the rank in it. */
  const find = (counts: Uint32Array, of: number): readonly [bin: number, rank: number] => {
    let left = of;
    for (const [bin, count] of counts.entries()) {
      if (left <= count) return [bin, left];
      left -= count;
    }
    return [counts.length - 1, left];
  };
  const high = new Uint32Array(2 ** (31 - HALF));
  for (const word of words) {
    const bin = upper(word);
    high[bin] = (high[bin] ?? 0) + 1;
  }
  const [top, rest] = find(high, rank);
  const low = new Uint32Array(2 ** HALF);
  for (const word of words) {
    if (upper(word) !== top) continue;
    const bin = word & (2 ** HALF - 1);
    low[bin] = (low[bin] ?? 0) + 1;
  }
  const [bottom] = find(low, rest);
  return new Float32Array(Uint32Array.of(top * 2 ** HALF + bottom).buffer)[0] ?? Number.NaN;
};
