import { chooseTask } from "../data/choose.js";
import type { Row } from "../data/rows.js";
import { ZerothError } from "../errors.js";
import { optionScores, predicted, probabilities } from "../objective/option.js";
import { openAdapted } from "./engines.js";
import { examplesOf } from "./examples.js";
import type { Model } from "./load.js";
import { outputs } from "./score.js";
import type { Prediction, PredictOptions } from "./types.js";
import { writtenAfter } from "./written.js";

/** Rows answered at a time: results stream, and packs are full. */
const STRETCH = 32;

async function* stretches<T>(items: AsyncIterable<T> | Iterable<T>): AsyncGenerator<T[]> {
  let stretch: T[] = [];
  for await (const item of items) {
    stretch.push(item);
    if (stretch.length === STRETCH) {
      yield stretch;
      stretch = [];
    }
  }
  if (stretch.length > 0) yield stretch;
}

/**
 * Chooses an option for each row, or writes its answer; results come back in order, a few rows at a time.
 *
 * @param rows plain objects with the task's fields; a label is not needed
 * @throws ZerothError for a task without options, or a row that lacks a field
 */
export async function* predict(
  model: Model,
  rows: AsyncIterable<Readonly<Record<string, unknown>>> | Iterable<Readonly<Record<string, unknown>>>,
  options: PredictOptions,
): AsyncGenerator<Prediction> {
  const task = chooseTask(options);
  if (task.metric === "loss") {
    throw new ZerothError(`Prediction chooses between options; ${task.name} rows have none.`, { kind: "usage" });
  }
  const adapted = await openAdapted(model, options);
  try {
    let line = 0;
    for await (const stretch of stretches(rows)) {
      const read = stretch.map((fields): Row => ({ fields, file: "row", line: ++line }));
      const { examples, trees } = examplesOf(adapted.model, task, read, false);
      if (task.metric === "f1") {
        for (const [i, { shared }] of trees.entries())
          yield {
            row: stretch[i] ?? {},
            prediction: await writtenAfter(adapted.engine, adapted.model, shared),
            scores: {},
          };
        continue;
      }
      let next = 0;
      for await (const { pack, output } of outputs(adapted.engine, adapted.model.family, trees, "auto")) {
        for (const scores of optionScores(pack, output)) {
          const example = examples[next];
          const row = stretch[next] ?? {};
          next++;
          if (example === undefined || example.kind === "chat") continue;
          const chances = probabilities(scores);
          yield {
            row,
            prediction: example.answers[predicted(scores)] ?? "",
            scores: Object.fromEntries(example.answers.map((answer, i) => [String(answer), chances[i] ?? 0])),
          };
        }
      }
    }
  } finally {
    await adapted.engine.close();
  }
}
