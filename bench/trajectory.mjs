// A run's accuracy against its seconds and its forward passes: the steps that finetune would take, evaluated at given seconds on rows of
// one's choice. Evaluations do not count.
import { measure } from "../dist/api/evaluate.js";
import { examplesOf } from "../dist/api/examples.js";
import { prepare } from "../dist/api/prepare.js";
import { resolveSettings, said } from "../dist/api/settings.js";
import { chooseTask } from "../dist/data/choose.js";
import { dataFile, readRows } from "../dist/data/rows.js";
import { splitRows } from "../dist/data/split.js";
import { loop } from "../dist/train/loop.js";

/**
 * @param options as finetune takes them; the run ends with its steps, or after the last of `seconds`
 * @param seconds when to evaluate, ascending; the end of the run is evaluated too
 * @param on "dev" (choices are made on these) or "validation"
 * @param onPoint told each evaluation: seconds and forward passes of steps so far, steps, accuracy, mean training loss since the last
 */
export const trajectory = async ({ model, options, seconds, on = "dev", limit, onPoint = () => {} }) => {
  const settings = resolveSettings(said(options), options.threads ?? 2);
  const { plan } = await prepare(model, options, settings, 0);
  const task = chooseTask(options);
  const rowsOf = async () => {
    if (on === "validation") return readRows(await dataFile(options.data, "validation"));
    const rows = await readRows(await dataFile(options.data, "train"));
    const { trainRows, devRows, dataSeed } = settings;
    const split = splitRows(rows.length, {
      trainRows: trainRows ?? undefined,
      devRows: devRows ?? undefined,
      seed: BigInt(dataSeed),
    });
    return split.dev.map((index) => rows[index]);
  };
  const { trees } = examplesOf(model, task, (await rowsOf()).slice(0, limit));
  const engine = await plan.openEngine();
  const points = [];
  try {
    let losses = [];
    let spent = 0;
    let taken = 0;
    const evaluationsPerStep = plan.stepper.estimator.evaluations(plan.stepper.queries);
    const evaluate = async () => {
      const { value } = await measure(engine, model, trees, task.metric);
      const loss = losses.reduce((a, b) => a + b, 0) / losses.length;
      const point = { seconds: spent, forwards: taken * evaluationsPerStep, steps: taken, accuracy: value, loss };
      losses = [];
      points.push(point);
      onPoint(point);
    };
    const due = [...seconds];
    const steps = loop(engine, {
      ...plan,
      ...{ from: 0, evaluations: [], evalEvery: 0, patience: 0, signal: undefined },
      evaluate: async () => ({ metric: task.metric, value: 0 }),
      record: () => {},
      keep: async () => {},
      checkpoint: async () => {},
    });
    try {
      for await (const event of steps) {
        spent += event.secondsPerStep;
        taken = event.step;
        losses.push(event.loss);
        if (due.length === 0) break;
        if (spent < due[0]) continue;
        due.shift();
        await evaluate();
        if (due.length === 0) break;
      }
    } catch (error) {
      return { points, failed: error.message.split("\n")[0] };
    }
    if (points.at(-1)?.steps !== taken) await evaluate();
    return { points };
  } finally {
    await engine.close();
  }
};
