import { type HeadKind, type Pack, packs } from "../batch/pack.js";
import type { TokenTree } from "../data/tree.js";
import type { Engine } from "../engine/engine.js";
import { runOf } from "../engine/feeds.js";
import type { RunnableModel } from "../model/onnx/imported.js";
import { rowPacks } from "./prefetch.js";

/** Trees handed to the engine at a time: enough to keep it busy, few enough to show progress. */
const STRETCH = 64;

/**
 * Runs trees in order through an engine at its live weights; yields each pack with the head's output on it.
 *
 * @param keptFrom where the first blocks are frozen and the same trees will be run again: the number under which the first tree's hidden
 *   states are kept, the others' being those that follow. A stretch is always packed alike, so they are the same bits each time
 */
export async function* outputs(
  engine: Engine,
  family: RunnableModel,
  trees: readonly TokenTree[],
  head: HeadKind | "auto",
  keptFrom?: number,
): AsyncGenerator<{ pack: Pack; output: Float32Array }> {
  for (let start = 0; start < trees.length; start += STRETCH) {
    const stretch = packs(trees.slice(start, start + STRETCH), { head });
    const rows = keptFrom === undefined ? [] : trees.slice(start, start + STRETCH).map((_, i) => keptFrom + start + i);
    const runs =
      keptFrom === undefined
        ? stretch.map((pack) => runOf(family, pack))
        : rowPacks(stretch, rows).map((one) => runOf(family, one.pack, one.rows));
    if (rows.length > 0 && (await engine.missing(rows)).length > 0) await engine.prefetch(runs);
    const [row = []] = await engine.evaluate({ points: [[]], runs });
    for (const [i, pack] of stretch.entries()) {
      const output = row[i];
      if (output !== undefined) yield { pack, output };
    }
  }
}
