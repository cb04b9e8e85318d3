import type { HeadKind, Pack } from "../batch/pack.js";

/** What a model's output on packs says about the loss. Pure; sums in float64, in the order of rows. */
export interface Objective {
  readonly name: string;
  /** The head it needs; `auto` where logits of the options' tokens alone will do. */
  readonly head: HeadKind | "auto";
  /** @param outputs of each pack: [P] log-probabilities (head `tokens`) or [P, C] logits (head `columns`) */
  loss(packs: readonly Pack[], outputs: readonly Float32Array[]): number;
}

/** A pack's share of a mean. */
export type Share = (pack: Pack, output: Float32Array) => { readonly total: number; readonly weight: number };

/** The loss of a batch as a mean: the sum of its packs' totals ÷ the sum of their weights. */
export const meanOf =
  (share: Share): Objective["loss"] =>
  (packs, outputs) => {
    let total = 0;
    let weight = 0;
    packs.forEach((pack, i) => {
      const own = share(pack, outputs[i] ?? new Float32Array(0));
      total += own.total;
      weight += own.weight;
    });
    return total / weight;
  };

/** The loss of a batch given the output of each of its packs. */
export const lossOf = (objective: Objective, packs: readonly Pack[], outputs: readonly Float32Array[]): number => {
  if (outputs.length < packs.length) throw new RangeError(`${packs.length} packs but ${outputs.length} outputs`);
  return objective.loss(packs, outputs);
};

/** What the head said of scored token `k`. */
export const cellOf = (pack: Pack, output: Float32Array, k: number): number => {
  const value = output[pack.cells[k] ?? -1];
  if (value === undefined) throw new RangeError(`the output has ${output.length} numbers: none for scored token ${k}`);
  return value;
};
