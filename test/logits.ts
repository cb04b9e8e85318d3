import { openAdapted } from "../src/api/engines.js";
import type { Model } from "../src/api/load.js";
import { packs } from "../src/batch/pack.js";
import { led } from "../src/data/tree.js";
import { runOf } from "../src/engine/feeds.js";
import { decode } from "../src/generate/decode.js";
import { greedy } from "../src/generate/sample.js";

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

/** The likeliest tokens after a prompt, one after another, and the logits that each was the largest of. */
export interface Written {
  readonly tokens: readonly number[];
  readonly logits: readonly Float32Array[];
}

/** What Zeroth goes on with after each prompt, `count` tokens whatever they are. */
export const writtenBy = async (
  model: Model,
  prompts: readonly (readonly number[])[],
  count: number,
  adapter?: string,
): Promise<readonly Written[]> => {
  const { engine, model: adapted } = await openAdapted(model, { adapter });
  const { family } = adapted;
  if ("imported" in family) throw new Error("an ONNX model");
  try {
    const all: Written[] = [];
    for (const ids of prompts) {
      const tokens: number[] = [];
      const logits: Float32Array[] = [];
      const choose = (row: Float32Array, index: number): number => {
        logits.push(row.slice());
        return greedy(row, index);
      };
      for await (const id of decode(engine, family, ids, { choose, ends: new Set(), most: count })) tokens.push(id);
      all.push({ tokens, logits });
    }
    return all;
  } finally {
    await engine.close();
  }
};

/** log Σ exp(row): what logits have above log-probabilities. */
export const logSum = (row: Float32Array): number => {
  const most = row.reduce((a, b) => Math.max(a, b));
  return most + Math.log(row.reduce((sum, x) => sum + Math.exp(x - most), 0));
};

/** −log softmax(row)[target]. */
export const nll = (row: Float32Array, target: number): number => logSum(row) - (row[target] ?? Number.NaN);
