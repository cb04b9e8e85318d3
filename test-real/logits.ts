import { openAdapted } from "../src/api/engines.js";
import type { Model } from "../src/api/load.js";
import { packs } from "../src/batch/pack.js";
import { led } from "../src/data/tree.js";
import { runOf } from "../src/engine/feeds.js";

/** Logits of whole inputs, [positions × vocabulary] each: every token is a place that the head scores from; or an input's classes. */
export const logitsOf = async (
  model: Model,
  inputs: readonly (readonly number[])[],
  adapter?: string,
): Promise<readonly Float32Array[]> => {
  const { engine, model: adapted } = await openAdapted(model, { adapter });
  const { family } = adapted;
  const lead = family.lead ?? 0;
  try {
    const runs = inputs.map((ids) => {
      if (family.reads === "class") {
        const branches = [{ ids: [0], scored: [] }];
        const [pack] = packs([{ shared: ids, at: 0, branches, label: 0, line: 1, truncated: 0 }], { head: "tokens" });
        if (pack === undefined) throw new Error("no pack");
        const { targets: _, ...feeds } = runOf(family, pack).feeds;
        return { graph: "logits", feeds };
      }
      // The last token is scored from, so it needs one after it; which one does not matter.
      const branch = { ids: [0], scored: ids.map((_, i) => i + 1) };
      const tree = { shared: ids, branches: [branch], label: 0, line: 1, truncated: 0 };
      const [pack] = packs([led(tree, lead, false)], { head: "tokens" });
      if (pack === undefined) throw new Error("no pack");
      const { targets: _, ...feeds } = runOf(family, pack).feeds;
      return { graph: "logits", feeds };
    });
    const [outputs = []] = await engine.evaluate({ points: [[]], runs });
    return outputs;
  } finally {
    await engine.close();
  }
};

/** −log softmax(row)[target]. */
export const nll = (row: Float32Array, target: number): number => {
  const most = row.reduce((a, b) => Math.max(a, b));
  return most + Math.log(row.reduce((sum, x) => sum + Math.exp(x - most), 0)) - (row[target] ?? Number.NaN);
};
