// A run's accuracy against its steps, forward passes and seconds: the steps that finetune would take, evaluated at given steps on rows of
// one's choice. Evaluations do not count.
import { examplesOf } from "../dist/api/examples.js";
import { prepare } from "../dist/api/prepare.js";
import { outputs } from "../dist/api/score.js";
import { resolveSettings, said } from "../dist/api/settings.js";
import { splitOf } from "../dist/api/split.js";
import { chooseTask } from "../dist/data/choose.js";
import { dataFile, readRows } from "../dist/data/rows.js";
import { optionScores, predicted } from "../dist/objective/option.js";
import { loop } from "../dist/train/loop.js";

/** Accuracy, and the mean cross-entropy of the options in nats, which is less noisy. */
const score = async (engine, family, trees, keptFrom) => {
  let [correct, nats] = [0, 0];
  for await (const { pack, output } of outputs(engine, family, trees, "auto", keptFrom)) {
    const scores = optionScores(pack, output);
    for (const [i, { label }] of pack.trees.entries()) {
      if (predicted(scores[i]) === label) correct++;
      const top = Math.max(...scores[i]);
      nats += top + Math.log(scores[i].reduce((sum, value) => sum + Math.exp(value - top), 0)) - scores[i][label];
    }
  }
  return { accuracy: correct / trees.length, nats: nats / trees.length };
};

const cpuSeconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

/**
 * @param options as finetune takes them
 * @param at steps after which to evaluate, ascending; the run ends at the last of them
 * @param on "dev" (choices are made on these) or "validation"
 * @param onPoint told each evaluation: steps and their forward passes so far, their wall and processor seconds, accuracy and cross-entropy, mean
 *   training loss since the last
 */
export const trajectory = async ({ model, options, at, on = "dev", limit, onPoint = () => {} }) => {
  const settings = resolveSettings(said(options), options.threads ?? 2);
  const { plan } = await prepare(model, options, settings, 0);
  const task = chooseTask(options);
  const rowsOf = async () => {
    if (on === "validation") return readRows(await dataFile(options.data, "validation"));
    const rows = await readRows(await dataFile(options.data, "train"));
    return splitOf(model, task, rows, settings).dev.map((index) => rows[index]);
  };
  const { trees } = examplesOf(model, task, (await rowsOf()).slice(0, limit));
  // Where the first blocks are frozen, what they give is kept, as finetune keeps it.
  const keptFrom = (options.method?.layers?.[0] ?? 0) > 0 ? settings.trainRows : undefined;
  const engine = await plan.openEngine();
  const points = [];
  // Forward passes of a step's rows: an anchor of more rows counts as many more.
  let forwards = 0;
  const anchors = new Set();
  const counting = {
    ...engine,
    evaluate(request) {
      const passes = anchors.has(request.runs)
        ? Math.min(settings.anchorRows, settings.trainRows) / settings.batchSize
        : 1;
      forwards += passes * request.points.length;
      return engine.evaluate(request);
    },
  };
  const steps = loop(counting, {
    ...plan,
    ...{ from: 0, evaluations: [], evalEvery: 0, patience: 0, signal: undefined },
    anchor() {
      const batch = plan.anchor();
      anchors.add(batch.runs);
      return batch;
    },
    evaluate: async () => ({ metric: task.metric, value: 0 }),
    record: () => {},
    keep: async () => {},
    checkpoint: async () => {},
  });
  let [done, seconds, cpu] = [0, 0, 0];
  let since = [];
  const mean = (of) => since.reduce((sum, event) => sum + of(event), 0) / since.length;
  try {
    for (const step of at) {
      const start = cpuSeconds();
      for (since = []; done < step; ) {
        const { value: event, done: over } = await steps.next();
        if (over) throw new Error(`the run has ${done} steps`);
        done = event.step;
        seconds += event.secondsPerStep;
        since.push(event);
      }
      cpu += cpuSeconds() - start;
      const point = { steps: done, forwards, seconds, cpu, ...(await score(engine, model.family, trees, keptFrom)) };
      const trained = {
        loss: mean(({ loss }) => loss),
        projectedGradient: Math.sqrt(mean(({ projectedGradient }) => projectedGradient ** 2)),
      };
      points.push(since.length === 0 ? point : { ...point, ...trained });
      onPoint(points.at(-1));
    }
    return { points };
  } catch (error) {
    // Some rates diverge: that is a result.
    return { points, failed: error.message.split("\n")[0] };
  } finally {
    await steps.return?.();
    await engine.close();
  }
};
