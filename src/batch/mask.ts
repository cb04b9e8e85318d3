import type { Bins } from "./bins.js";
import type { Pack } from "./pack.js";

/**
 * The pack's attention mask, additive, [B, L, L] row-major: 0 where the row's token sees the column's token, −∞ elsewhere.
 * Causal inside a tree; a branch's tokens see the shared context and their own branch. An empty slot sees itself, since a row of
 * nothing but −∞ has no softmax.
 */
export const mask = ({ root, fork, own }: Pick<Pack, "root" | "fork" | "own">, bins: Bins): Float32Array => {
  const { count, size, back } = bins;
  const out = new Float32Array(count * size * size).fill(Number.NEGATIVE_INFINITY);
  for (let slot = 0; slot < count * size; slot++) out[slot * size + (slot % size)] = 0;
  back.forEach((slot, i) => {
    // Slots of a tree are in order and side by side, so that places move into the bin by one shift.
    const row = slot * size;
    const shift = row + (slot % size) - i;
    // Plain loops: the runs of zeros are short, and a call of fill() costs more than they do.
    const trunk = shift + (fork[i] ?? 0);
    for (let j = shift + (root[i] ?? 0); j < trunk; j++) out[j] = 0;
    for (let j = shift + (own[i] ?? 0); j <= shift + i; j++) out[j] = 0;
  });
  return out;
};
