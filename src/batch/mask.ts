import type { Pack } from "./pack.js";

/**
 * The pack's attention mask, additive, [T, T] row-major: 0 where the row's token sees the column's token, −∞ elsewhere.
 * Causal inside a tree; a branch's tokens see the shared context and their own branch.
 */
export const mask = ({ root, fork, own }: Pick<Pack, "root" | "fork" | "own">): Float32Array => {
  const size = root.length;
  const out = new Float32Array(size * size).fill(Number.NEGATIVE_INFINITY);
  for (let i = 0; i < size; i++) {
    const row = i * size;
    // Plain loops: the runs of zeros are short, and a call of fill() costs more than they do.
    const trunk = row + (fork[i] ?? 0);
    for (let j = row + (root[i] ?? 0); j < trunk; j++) out[j] = 0;
    for (let j = row + (own[i] ?? 0); j <= row + i; j++) out[j] = 0;
  }
  return out;
};
