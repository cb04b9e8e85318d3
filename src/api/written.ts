import type { TokenTree } from "../data/tree.js";
import type { Engine } from "../engine/engine.js";
import { ZerothError } from "../errors.js";
import type { Point } from "../estimator/estimator.js";
import { decode } from "../generate/decode.js";
import { greedy } from "../generate/sample.js";
import { textStream } from "../generate/text.js";
import { endTokens } from "../model/ends.js";
import type { MetricName } from "../objective/metrics.js";
import { writtenScores } from "../objective/written.js";
import type { Batch } from "../train/loop.js";
import type { Model } from "./load.js";

/** Tokens of a written answer at most, as in MeZO. */
const MOST = 50;

/** Tokens of a model's context that are left free for an answer. */
export const answerRoom = (contextLength: number): number => Math.min(MOST, Math.floor(contextLength / 2));

/** What a model writes after a context: greedy, up to a line break or an end token, without spaces around it, as in MeZO. */
export const writtenAfter = async (
  engine: Pick<Engine, "decode">,
  { family, files }: Pick<Model, "family" | "files">,
  ids: readonly number[],
  point: Point = [],
): Promise<string> => {
  if ("imported" in family)
    throw new ZerothError(
      "This task's answers are written by graphs that are built here: give the model's safetensors or GGUF file.",
      {
        kind: "usage",
      },
    );
  const stream = textStream(files.tokenizer, ids, ["\n"]);
  let text = "";
  for await (const id of decode(engine, family, ids, { choose: greedy, ends: endTokens(files), most: MOST, point })) {
    const piece = stream.push(id);
    text += piece.text;
    if (piece.stopped) return text.trim();
  }
  return (text + stream.end()).trim();
};

/** Losses of rows at points, where they are of what the model writes. */
export type Asks = (
  engine: Engine,
  points: readonly Point[],
  trees: readonly TokenTree[],
) => Promise<readonly number[]>;

/** Rows as a batch that is asked. */
export const askedBatch = (asks: Asks, trees: readonly TokenTree[]): Batch => ({
  runs: [],
  loss: () => Number.NaN,
  losses: (engine, points) => asks(engine, points, trees),
});

/** A metric of written answers as an objective, negated: smaller is better (MeZO's F1 of generations, arXiv 2305.17333). */
export const asking =
  (model: Model, metric: MetricName): Asks =>
  async (engine, points, trees) => {
    const losses: number[] = [];
    // A point after another, so that weights which are perturbed in place are brought to each of them once.
    for (const point of points) {
      let total = 0;
      for (const { shared, golds = [] } of trees)
        total += writtenScores[metric](await writtenAfter(engine, model, shared, point), golds);
      losses.push(-total / trees.length);
    }
    return losses;
  };
