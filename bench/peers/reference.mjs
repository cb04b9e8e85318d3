// What Zeroth itself computes, for the checks of other programs.
import { openAdapted } from "../../dist/api/engines.js";
import { packs } from "../../dist/batch/pack.js";
import { runOf } from "../../dist/engine/feeds.js";

const VOCABULARY_AT = -1;

/** Logits of rows of tokens, each place's in turn: [rows][places] of a vocabulary each. */
const logitsOf = async ({ engine, family }, rows) => {
  const runs = rows.map((ids) => {
    const branch = { ids: [0], scored: ids.map((_, i) => i + 1) };
    const [pack] = packs([{ shared: ids, branches: [branch], label: 0, line: 1, truncated: 0 }], { head: "tokens" });
    const { targets: _, ...feeds } = runOf(family, pack).feeds;
    return { graph: "logits", feeds };
  });
  const [outputs] = await engine.evaluate({ points: [[]], runs });
  return outputs.map((data, i) => {
    const width = data.length / rows[i].length;
    return rows[i].map((_, at) => data.subarray(at * width, (at + 1) * width));
  });
};

const best = (row) => row.reduce((at, value, i) => (value > row[at] ? i : at), 0);

/**
 * The likeliest tokens after a prompt, one after the other, and log-probabilities of the whole vocabulary at each.
 * @returns {Promise<{ tokens: number[], rows: Float64Array[], margin: number }>} margin: the least gap between the best two logits
 */
export const greedy = async (model, { adapter, prompt, count }) => {
  const { engine } = await openAdapted(model, { adapter });
  try {
    const ids = [...prompt];
    const rows = [];
    let margin = Number.POSITIVE_INFINITY;
    while (ids.length < prompt.length + count) {
      const [places] = await logitsOf({ engine, family: model.family }, [ids]);
      const row = places.at(VOCABULARY_AT);
      const token = best(row);
      margin = Math.min(margin, row[token] - row.filter((_, i) => i !== token).reduce((a, b) => Math.max(a, b)));
      rows.push(logProbabilities(row));
      ids.push(token);
    }
    return { tokens: ids.slice(prompt.length), rows, margin };
  } finally {
    await engine.close();
  }
};

const logProbabilities = (row) => {
  const most = row.reduce((a, b) => Math.max(a, b));
  const total = most + Math.log(row.reduce((sum, x) => sum + Math.exp(x - most), 0));
  return Float64Array.from(row, (x) => x - total);
};
