import { performance } from "node:perf_hooks";
import type { Measure } from "../data/task.js";
import type { Engine } from "../engine/engine.js";
import type { Run } from "../engine/protocol.js";
import { ZerothError } from "../errors.js";
import type { Point } from "../estimator/estimator.js";
import type { StepRecord } from "./journal.js";
import { learningRateAt, type Schedule } from "./schedule.js";
import { driving, lossOf, type Stepper, takeStep } from "./step.js";

/** A step's rows, ready to run: one run a pack, and what the outputs say about the loss (mean over rows, float64). */
export interface Batch {
  readonly runs: readonly Run[];
  loss(outputs: readonly Float32Array[]): number;
  /** What the engine must be given before the runs. */
  prepare?(engine: Engine): Promise<void>;
  /** The losses, where they are not of the runs' outputs but of what the model writes. */
  losses?(engine: Engine, points: readonly Point[]): Promise<readonly number[]>;
}

/** A batch's losses at points. */
export const batchLosses = async (
  engine: Engine,
  batch: Omit<Batch, "prepare">,
  points: readonly Point[],
): Promise<readonly number[]> =>
  batch.losses === undefined
    ? (await engine.evaluate({ points, runs: batch.runs })).map(batch.loss)
    : batch.losses(engine, points);

export interface Evaluation {
  /** Steps done. */
  readonly step: number;
  readonly metric: Measure;
  readonly value: number;
}

/** Whether `a` is a better value than `b`. */
const isBetter = (metric: Measure, a: number, b: number): boolean => {
  if (Number.isNaN(b)) return !Number.isNaN(a);
  return metric === "loss" ? a < b : a > b;
};

/** The best of some evaluations, the earliest when they tie. */
export const bestOf = (evaluations: readonly Evaluation[]): Evaluation | undefined =>
  evaluations.reduce<Evaluation | undefined>(
    (best, next) => (best === undefined || isBetter(next.metric, next.value, best.value) ? next : best),
    undefined,
  );

/** Evaluations since the best one. */
const sinceBest = (evaluations: readonly Evaluation[]): number => {
  const best = bestOf(evaluations);
  return best === undefined ? 0 : evaluations.length - 1 - evaluations.indexOf(best);
};

export interface LoopPlan {
  readonly stepper: Stepper;
  readonly schedule: Schedule;
  /** Steps already done, and what the estimator remembers of them. */
  readonly from: number;
  readonly memory: unknown;
  /** Evaluations already done. */
  readonly evaluations: readonly Evaluation[];
  /** Steps between evaluations; 0 for none. */
  readonly evalEvery: number;
  /** Evaluations without a better one before stopping; 0 for never. */
  readonly patience: number;
  readonly signal: AbortSignal | undefined;
  batch(step: number): Batch;
  /** The rows that an anchored estimator looks at, the same in every step. */
  anchor(): Batch;
  /** Value on the dev rows, at the live weights. */
  evaluate(): Promise<{ metric: Measure; value: number }>;
  /** Makes a step's record durable. */
  record(record: StepRecord): void;
  /** Makes an evaluation durable; `best` ones keep their weights. */
  keep(evaluation: Evaluation, best: boolean): Promise<void>;
  /** Called after each step, when the weights may be saved. */
  checkpoint(stepsDone: number): Promise<void>;
}

export type LoopEvent =
  | {
      readonly type: "step";
      readonly step: number;
      readonly steps: number;
      readonly loss: number;
      readonly learningRate: number;
      readonly projectedGradient: number;
      readonly secondsPerStep: number;
      readonly rssBytes: number;
    }
  | ({ readonly type: "evaluation"; readonly best: boolean } & Evaluation);

export type Outcome = "finished" | "stopped early" | "interrupted";

const refusal = ({ step, losses }: StepRecord, learningRate: number, epsilon: number): ZerothError =>
  new ZerothError(
    `Step ${step + 1} was refused: its ${losses.every(Number.isFinite) ? "update" : "loss"} is not finite (${losses.length === 1 ? "loss" : "losses"} ${Array.from(losses, (loss) => loss.toPrecision(4)).join(", ")}). The weights of the step before are saved.\n` +
      `Training has diverged: start again with a smaller --learning-rate (now ${learningRate}; try a tenth of it)\n` +
      `or another --epsilon (now ${epsilon}).`,
  );

/**
 * The training loop: step, journal, evaluate, and so on to the last step. The caller owns the engine and what happens to the
 * weights afterwards.
 *
 * @throws ZerothError when a loss is not finite; the step is then recorded as refused and the weights are those before it
 */
export async function* loop(engine: Engine, plan: LoopPlan): AsyncGenerator<LoopEvent, Outcome> {
  const { stepper, schedule, signal } = plan;
  const evaluations = [...plan.evaluations];
  const evaluateAt = async (step: number): Promise<LoopEvent> => {
    const evaluation = { step, ...(await plan.evaluate()) };
    evaluations.push(evaluation);
    const best = bestOf(evaluations) === evaluation;
    await plan.keep(evaluation, best);
    return { type: "evaluation", ...evaluation, best };
  };
  const due = (done: number): boolean =>
    plan.evalEvery > 0 &&
    done > 0 &&
    (done % plan.evalEvery === 0 || done === schedule.steps) &&
    evaluations.at(-1)?.step !== done;

  // A run that was killed between a step and its evaluation owes that evaluation.
  if (due(plan.from)) yield await evaluateAt(plan.from);
  let { memory } = plan;
  for (let step = plan.from; step < schedule.steps; step++) {
    if (signal?.aborted) return "interrupted";
    if (plan.patience > 0 && sinceBest(evaluations) >= plan.patience) return "stopped early";
    const start = performance.now();
    const own = plan.batch(step);
    const learningRate = Math.fround(learningRateAt(step, schedule));
    const taken = await takeStep(
      stepper,
      step,
      learningRate,
      driving(engine, async (points, rows) => {
        const batch = rows === "anchor" ? plan.anchor() : own;
        await batch.prepare?.(engine);
        return batchLosses(engine, batch, points);
      }),
      memory,
    );
    const { record, gradient } = taken;
    memory = taken.memory;
    plan.record(record);
    if (record.refused) throw refusal(record, schedule.learningRate, stepper.epsilon);
    await plan.checkpoint(step + 1);
    yield {
      type: "step",
      step: step + 1,
      steps: schedule.steps,
      loss: lossOf(record),
      // Coefficients carry 1/q each, so that their sum is the queries' mean.
      projectedGradient: gradient.reduce((sum, coefficient) => sum + coefficient, 0),
      learningRate,
      secondsPerStep: (performance.now() - start) / 1000,
      rssBytes: process.memoryUsage.rss(),
    };
    if (due(step + 1)) yield await evaluateAt(step + 1);
  }
  return "finished";
}
