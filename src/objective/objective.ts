import type { HeadKind, Pack } from "../batch/pack.js";

/** What a model's output on a pack says about the loss. Pure; sums in float64. */
export interface Objective {
  readonly name: string;
  /** The head it needs; `auto` where logits of the options' tokens alone will do. */
  readonly head: HeadKind | "auto";
  /**
   * The pack's share of a mean: the loss of a batch is the sum of `total` over its packs ÷ the sum of `weight`.
   *
   * @param output [P] log-probabilities (head `tokens`) or [P, C] logits (head `columns`)
   */
  share(pack: Pack, output: Float32Array): { readonly total: number; readonly weight: number };
}

/** The loss of a batch given the output of each of its packs. */
export const lossOf = (objective: Objective, packs: readonly Pack[], outputs: readonly Float32Array[]): number => {
  let total = 0;
  let weight = 0;
  packs.forEach((pack, i) => {
    const output = outputs[i];
    if (output === undefined) throw new RangeError(`${packs.length} packs but ${outputs.length} outputs`);
    const share = objective.share(pack, output);
    total += share.total;
    weight += share.weight;
  });
  return total / weight;
};

/** What the head said of scored token `k`. */
export const cellOf = (pack: Pack, output: Float32Array, k: number): number => {
  const value = output[pack.cells[k] ?? -1];
  if (value === undefined) throw new RangeError(`the output has ${output.length} numbers: none for scored token ${k}`);
  return value;
};
