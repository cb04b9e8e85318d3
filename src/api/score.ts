import { type HeadKind, type Pack, packs } from "../batch/pack.js";
import type { TokenTree } from "../data/tree.js";
import type { Engine } from "../engine/engine.js";
import { runOf } from "../engine/feeds.js";
import type { RunnableModel } from "../model/onnx/imported.js";

/** Trees handed to the engine at a time: enough to keep it busy, few enough to show progress. */
const STRETCH = 64;

/** Runs trees in order through an engine at its live weights; yields each pack with the head's output on it. */
export async function* outputs(
  engine: Engine,
  family: RunnableModel,
  trees: readonly TokenTree[],
  head: HeadKind | "auto",
): AsyncGenerator<{ pack: Pack; output: Float32Array }> {
  for (let start = 0; start < trees.length; start += STRETCH) {
    const stretch = packs(trees.slice(start, start + STRETCH), { head });
    const [row = []] = await engine.evaluate({ points: [[]], runs: stretch.map((pack) => runOf(family, pack)) });
    for (const [i, pack] of stretch.entries()) {
      const output = row[i];
      if (output !== undefined) yield { pack, output };
    }
  }
}
