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
    out.fill(0, row + (root[i] ?? 0), row + (fork[i] ?? 0));
    out.fill(0, row + (own[i] ?? 0), row + i + 1);
  }
  return out;
};
