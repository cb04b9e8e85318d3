import { writeFileAtomic } from "../atomic.js";
import type { Measure } from "../data/task.js";
import type { Engine } from "../engine/engine.js";
import { lossChart } from "./chart.js";
import {
  type BaseHashes,
  createJournal,
  type Journal,
  type JournalHeader,
  type JournalWriter,
  readJournal,
  reopenJournal,
} from "./journal.js";
import { type Batch, bestOf, type Evaluation, type LoopEvent, loop, type Outcome } from "./loop.js";
import { openMetrics } from "./metrics.js";
import { restoreRun, saveSnapshot } from "./restore.js";
import type { RunFolder } from "./run-folder.js";
import type { Schedule } from "./schedule.js";
import { newestSnapshot } from "./snapshot.js";
import { lossOf, type Stepper } from "./step.js";
import { openEvents } from "./tensorboard.js";

/** Walks since the last snapshot that a resume would have to repeat, in seconds. */
const SNAPSHOT_AFTER = 60;
const LAST_LOSSES = 20;

/** What a run does, everything resolved. */
export interface RunPlan {
  readonly folder: RunFolder;
  readonly header: JournalHeader;
  /** An engine with the weights as the run starts from them. */
  openEngine(): Promise<Engine>;
  readonly stepper: Stepper;
  readonly schedule: Schedule;
  readonly evalEvery: number;
  readonly patience: number;
  readonly signal: AbortSignal | undefined;
  batch(step: number): Batch;
  anchor(): Batch;
  /** Value on the dev rows, at the live weights. */
  evaluate(engine: Engine): Promise<{ metric: Measure; value: number }>;
  /** Looks at a fresh run's loss before the first step, and leaves the engine as it was; what is to be told. */
  check(engine: Engine): Promise<readonly string[]>;
  /** Hashes the base's weight files; runs beside the first steps. */
  hashBase(signal: AbortSignal): Promise<BaseHashes>;
  /** Writes the result (adapter or model folder) into the run's folder. */
  save(engine: Engine, folder: string): Promise<void>;
}

export interface RunResult {
  readonly steps: number;
  readonly loss: number;
  readonly secondsPerStep: number;
  readonly peakRssBytes: number;
  readonly out: string;
  readonly keptStep: number;
  readonly outcome: Outcome | "already finished";
  readonly chart: string;
}

export type RunEvent = LoopEvent | { readonly type: "note"; readonly message: string };

const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
};
const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

const peakRssBytes = (): number => process.resourceUsage().maxRSS * 1024;

const evaluationsOf = (journal: Journal | undefined): Evaluation[] =>
  (journal?.notes ?? []).flatMap((note) =>
    note.note === "evaluation" ? [{ step: note.step, metric: note.metric, value: note.value }] : [],
  );

/** The result of a run that had finished before. */
export const finishedResult = (folder: RunFolder): RunResult | undefined => {
  if (folder.state.kind !== "finished" || folder.state.journal.finished === undefined) return undefined;
  const { step, keptStep, loss, secondsPerStep, peakRssBytes: peak } = folder.state.journal.finished;
  const { out, chart } = folder.paths;
  return { steps: step, loss, secondsPerStep, peakRssBytes: peak, out, keptStep, outcome: "already finished", chart };
};

/** Hashes the base beside the run and journals what comes out; a failure to read is told when the run ends. */
const hashInBackground = (plan: RunPlan, journal: Journal | undefined, writer: JournalWriter) => {
  const stop = new AbortController();
  if (journal?.base !== undefined) return async () => {};
  const done = plan.hashBase(stop.signal).then(
    (hashes) => writer.base(hashes),
    (error: unknown) => {
      if (!stop.signal.aborted) throw error;
    },
  );
  // Awaited at the end; until then a rejection must not count as unhandled.
  done.catch(() => undefined);
  return async (wait: boolean) => {
    if (!wait) stop.abort();
    await done;
  };
};

/**
 * Runs or goes on with a run: restores, drives the loop, keeps journal, metrics, snapshots and the best weights, and at the end
 * writes the weights that were best on the dev rows (the last ones without dev rows).
 */
export async function* trainRun(plan: RunPlan): AsyncGenerator<RunEvent, RunResult> {
  const { folder, stepper, schedule } = plan;
  const { paths } = folder;
  const bestFolder = paths.best;
  for (const message of folder.notes) yield { type: "note", message };

  // Before anything is written: a model that does not load leaves no run behind.
  let engine = await plan.openEngine();
  let journal: Journal | undefined;
  let writer: JournalWriter;
  let findings: readonly string[] = [];
  if (folder.state.kind === "empty") {
    try {
      findings = await plan.check(engine);
    } catch (error) {
      await engine.close();
      throw error;
    }
  }
  if (folder.state.kind === "empty") writer = await createJournal(paths.journal, plan.header);
  else ({ journal, writer } = reopenJournal(paths.journal));
  const from = journal?.stepCount ?? 0;
  const losses = [...(journal?.steps ?? [])].map(lossOf);
  const evaluations = evaluationsOf(journal);
  const seconds: number[] = [];
  const finishHash = hashInBackground(plan, journal, writer);
  const metrics = await openMetrics(paths.metrics, from);
  const events = openEvents(paths.folder, from + 1);
  const draw = async () => {
    const points = losses.map((loss, i) => ({ step: i + 1, loss }));
    await writeFileAtomic(paths.chart, lossChart({ losses: points, evaluations }));
  };

  try {
    for (const message of findings) yield { type: "note", message };
    await writeFileAtomic(paths.options, `${JSON.stringify((journal?.header ?? plan.header).options, null, 2)}\n`);
    let memory = stepper.estimator.initial;
    if (journal !== undefined && from > 0) {
      memory = await restoreRun(engine, stepper, journal, from, paths.snapshots);
      writer.note({ note: "resumed", step: from, zeroth: plan.header.zeroth, runtime: plan.header.runtime });
      yield { type: "note", message: `Resumed after step ${from}: its weights were rebuilt from the journal.` };
    }
    let walkedAtSnapshot = await engine.walkSeconds();
    const steps = loop(engine, {
      stepper,
      schedule,
      from,
      memory,
      evaluations,
      evalEvery: plan.evalEvery,
      patience: plan.patience,
      signal: plan.signal,
      batch: plan.batch,
      anchor: plan.anchor,
      evaluate: () => plan.evaluate(engine),
      record: (record) => {
        writer.append(record);
        if (record.refused) {
          writer.note({ note: "refused", step: record.step, reason: "a loss or an update is not finite" });
          writer.sync();
        }
      },
      async keep(evaluation, best) {
        evaluations.push(evaluation);
        if (best) {
          writer.sync();
          await saveSnapshot(engine, bestFolder, evaluation.step);
        }
        writer.note({ note: "evaluation", ...evaluation, best });
        await draw();
      },
      async checkpoint(stepsDone) {
        const walked = await engine.walkSeconds();
        if (walked - walkedAtSnapshot < SNAPSHOT_AFTER) return;
        writer.sync();
        await saveSnapshot(engine, paths.snapshots, stepsDone);
        walkedAtSnapshot = await engine.walkSeconds();
      },
    });
    let outcome: Outcome;
    for (;;) {
      const next = await steps.next();
      if (next.done) {
        outcome = next.value;
        break;
      }
      const event = next.value;
      if (event.type === "step") {
        losses.push(event.loss);
        seconds.push(event.secondsPerStep);
        const { step, loss, learningRate, projectedGradient, secondsPerStep, rssBytes } = event;
        metrics.write({ step, loss, learningRate, projectedGradient, secondsPerStep, rssBytes });
        events.write(step, {
          "train/loss": loss,
          "train/learning_rate": learningRate,
          "train/projected_gradient": projectedGradient,
        });
      } else {
        metrics.write({ step: event.step, [`dev/${event.metric}`]: event.value, best: event.best });
        events.write(event.step, { [`dev/${event.metric}`]: event.value });
      }
      yield event;
    }

    const last = losses.length;
    // A run that is cut short keeps its last weights: it is gone on with from there.
    const keptStep = outcome === "interrupted" ? last : (bestOf(evaluations)?.step ?? last);
    if (keptStep !== last) {
      writer.sync();
      // The snapshot of the best step may be gone (a crash between writing it and noting it): then the journal rebuilds it.
      if ((await newestSnapshot(bestFolder, keptStep))?.step !== keptStep) {
        await engine.close();
        engine = await plan.openEngine();
      }
      await restoreRun(engine, stepper, readJournal(paths.journal), keptStep, bestFolder);
    }
    await plan.save(engine, paths.out);
    await draw();
    await finishHash(outcome !== "interrupted");
    const result = {
      steps: last,
      loss: mean(losses.slice(-LAST_LOSSES)),
      secondsPerStep: median(seconds),
      peakRssBytes: peakRssBytes(),
      out: paths.out,
      keptStep,
      outcome,
      chart: paths.chart,
    };
    if (outcome !== "interrupted") {
      const { loss, secondsPerStep, peakRssBytes: peak } = result;
      writer.note({ note: "finished", step: last, keptStep, outcome, loss, secondsPerStep, peakRssBytes: peak });
    }
    return result;
  } catch (error) {
    // Whatever went wrong, the last good weights are saved if that is possible; the error that is told is the first one.
    await plan.save(engine, paths.out).catch(() => undefined);
    await draw().catch(() => undefined);
    throw error;
  } finally {
    await finishHash(false).catch(() => undefined);
    await engine.close();
    metrics.close();
    events.close();
    writer.close();
  }
}
