import type { Term } from "../estimator/estimator.js";
import type { Subspace } from "../perturbation/subspace.js";
import type { Key } from "../random/key.js";
import { permutation } from "../random/shuffle.js";
import type { Slot } from "./memory.js";

export const nameOf = ({ seed, stream, step, query }: Key): string => `${seed}/${stream}/${step}/${query}`;

/** Whether a term moves a tensor. */
export type Reach = (term: Pick<Term, "key" | "block">, slot: Pick<Slot, "layer" | "block">) => boolean;

/**
 * Which tensors a key moves. With the subspace `layers`, ⌊drop·ℓ⌋ of the ℓ blocks that are trained are at rest, chosen from the key by a
 * stream of their own; what is in no block always moves. A term of one block moves nothing else.
 */
export const reachOf = (subspace: Subspace, slots: readonly Pick<Slot, "layer">[]): Reach => {
  const layers = [...new Set(slots.flatMap(({ layer }) => layer ?? []))].sort((a, b) => a - b);
  const resting = new Map<string, ReadonlySet<number>>();
  const restingAt = (key: Key, drop: number): ReadonlySet<number> => {
    const name = nameOf(key);
    const known = resting.get(name);
    if (known !== undefined) return known;
    const order = permutation(layers.length, { ...key, stream: "layers" });
    const chosen = new Set(Array.from(order.subarray(0, Math.floor(drop * layers.length)), (i) => layers[i] ?? -1));
    // Only the latest keys are asked for again.
    if (resting.size > 1024) resting.clear();
    resting.set(name, chosen);
    return chosen;
  };
  return ({ key, block }, slot) => {
    if (block !== undefined && block !== slot.block) return false;
    if (subspace.kind !== "layers" || slot.layer === undefined) return true;
    return !restingAt(key, subspace.drop).has(slot.layer);
  };
};
