import { packs, treeSize } from "../../batch/pack.js";
import type { TokenTree } from "../../data/tree.js";
import type { Objective } from "../../objective/objective.js";
import type { PackingReport } from "../types.js";

/**
 * What packing saves over padding on some steps' rows. A padded batch, as the field's trainers make it, holds a sequence for
 * each option, the prompt repeated (or one a row, where a mask or a class is read), and fills every one up to the longest of its step.
 */
export const packingOf = (objective: Objective, steps: readonly (readonly TokenTree[])[]): PackingReport => {
  const counted = steps.map((trees) => {
    const sequences = trees.flatMap(({ shared, branches, at }) =>
      at === undefined ? branches.map(({ ids }) => shared.length + ids.length) : [shared.length],
    );
    return {
      packs: packs(trees, { head: objective.head }).length,
      tokens: trees.reduce((sum, tree) => sum + treeSize(tree), 0),
      padded: sequences.length * Math.max(0, ...sequences),
    };
  });
  const perStep = (of: (step: (typeof counted)[number]) => number): number =>
    counted.reduce((sum, step) => sum + of(step), 0) / steps.length;
  const [tokensPerStep, paddedTokensPerStep] = [perStep(({ tokens }) => tokens), perStep(({ padded }) => padded)];
  return {
    steps: steps.length,
    rows: steps.flat().length,
    packsPerStep: perStep((step) => step.packs),
    tokensPerStep,
    paddedTokensPerStep,
    saved: paddedTokensPerStep === 0 ? 0 : 1 - tokensPerStep / paddedTokensPerStep,
    cut: steps.flat().filter(({ truncated }) => truncated > 0).length,
  };
};
