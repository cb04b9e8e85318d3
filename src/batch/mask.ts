import type { Bins } from "./bins.js";
import type { Pack } from "./pack.js";

/** What a token sees of its own tree: what comes before it or all of it, within a window of positions where there is one. */
interface Sight {
  readonly causal: boolean;
  readonly window?: number;
}

/**
 * The pack's attention mask, additive, [B, L, L] row-major: 0 where the row's token sees the column's token, −∞ elsewhere.
 * Inside a tree alone; causal, or both ways. A branch's tokens see the shared context and their own branch. An empty slot sees itself, since a row
 * of nothing but −∞ has no softmax.
 */
export const mask = (
  { root, fork, own, positions }: Pick<Pack, "root" | "fork" | "own" | "positions">,
  bins: Bins,
  { causal, window = Number.POSITIVE_INFINITY }: Sight = { causal: true },
): Float32Array => {
  const { count, size, back } = bins;
  const out = new Float32Array(count * size * size).fill(Number.NEGATIVE_INFINITY);
  for (let slot = 0; slot < count * size; slot++) out[slot * size + (slot % size)] = 0;
  // Both ways, a tree is one row: it ends where the next begins.
  const ends = new Int32Array(causal ? 0 : back.length);
  for (let i = ends.length - 1; i >= 0; i--) ends[i] = root[i + 1] === root[i] ? (ends[i + 1] ?? 0) : i;
  back.forEach((slot, i) => {
    // Slots of a tree are in order and side by side, so that places move into the bin by one shift.
    const row = slot * size;
    const shift = row + (slot % size) - i;
    const start = root[i] ?? 0;
    const position = positions[i] ?? 0;
    // The shared context counts from 0, a branch's own tokens up to this one.
    const near = start + Math.max(0, position - window + 1);
    const ownNear = Math.max(own[i] ?? 0, i - window + 1);
    // Plain loops: the runs of zeros are short, and a call of fill() costs more than they do.
    const trunk = shift + (fork[i] ?? 0);
    for (let j = shift + near; j < trunk; j++) out[j] = 0;
    const last = shift + (causal ? i : Math.min(ends[i] ?? i, i + window - 1));
    for (let j = shift + ownNear; j <= last; j++) out[j] = 0;
  });
  return out;
};
