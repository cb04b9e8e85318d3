import { z } from "zod";

/** Where directions lie: which elements of the trainable tensors a key moves, and along what. */
export type Subspace =
  | { readonly kind: "dense" }
  /** ⌊drop · blocks⌋ blocks of the model at rest, other ones for every key; what is in no block always moves. */
  | { readonly kind: "layers"; readonly drop: number }
  /** Each element at rest with probability `sparsity`, drawn anew every `interval` steps. */
  | { readonly kind: "random"; readonly sparsity: number; readonly interval: number }
  /** The fraction `sparsity` of largest magnitude of each tensor at rest: above a threshold that the weights at the start give. */
  | { readonly kind: "magnitude"; readonly sparsity: number }
  /** The elements that a file lists. */
  | { readonly kind: "stored" }
  /** U·Vᵀ, with V [n, rank] drawn every `refreshEvery` steps and U [m, rank] under each key. */
  | { readonly kind: "lozo"; readonly rank: number; readonly refreshEvery: number }
  /** √(mn)/rank · U·Z·Vᵀ, with orthonormal U and V drawn every `refreshEvery` steps and Z [rank, rank] under each key. */
  | { readonly kind: "subzero"; readonly rank: number; readonly refreshEvery: number };

/** Subspaces of a lower rank: what is trained is a core, which is folded into the weights at every refresh. */
export type LowRank = Extract<Subspace, { rank: number }>;

const fraction = z.number().min(0).lt(1);
const count = z.int().min(1);

/** The hyperparameters that each takes, with their published defaults. */
export const subspaceOptions = {
  dense: z.strictObject({}),
  layers: z.strictObject({ drop: fraction.default(0.75) }),
  random: z.strictObject({ sparsity: fraction.default(0.9), interval: count.default(1) }),
  magnitude: z.strictObject({ sparsity: fraction.default(0.75) }),
  stored: z.strictObject({}),
  lozo: z.strictObject({ rank: count.default(2), refreshEvery: count.default(50) }),
  subzero: z.strictObject({ rank: count.default(8), refreshEvery: count.default(1000) }),
} satisfies Readonly<Record<Subspace["kind"], z.ZodType>>;

export type SubspaceName = keyof typeof subspaceOptions;

export const isLowRank = (subspace: Subspace): subspace is LowRank => "rank" in subspace;
