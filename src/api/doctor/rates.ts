import type { Engine } from "../../engine/engine.js";
import type { Batch } from "../../train/loop.js";
import { learningRateAt, type Schedule } from "../../train/schedule.js";
import { driving, type Stepper, type Taken, takeStep } from "../../train/step.js";
import type { NoiseReport, RateReport, RatesReport } from "../types.js";
import { lossesOf, reachOf } from "./noise.js";
import { mean, rms, rounded } from "./statistics.js";

export interface RateProbe {
  readonly stepper: Stepper;
  /** The planned one. */
  readonly learningRate: number;
  /** One batch for all steps. */
  readonly batch: Batch;
  /** The radius up to which slopes hold, and the typical slope: where to look for the highest rate. */
  readonly reach: number | undefined;
  readonly projectedGradient: number;
  readonly roundingNoise: number;
  /** Whether there is time for another rate; the first is always tried. */
  readonly hasTime?: () => boolean;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Steps a rate is tried for, and rates tried at most. */
export const PROBE_STEPS = 5;
const MOST_RATES = 9;
/** What is left of a promised fall of the loss: enough, and next to nothing. */
const ENOUGH = 0.8;
const NEXT_TO_NOTHING = 0.1;
/** The grid: two rates a decade. */
const PER_DECADE = 2;
const LARGEST = 1e30;

/** The slopes s that a step was taken by, one a query: g = Σ cᵢzᵢ with cᵢ = sᵢ/q. */
export const slopesOf = ({ queries }: Stepper, { gradient }: Taken): readonly number[] =>
  gradient.map((coefficient) => coefficient * queries);

/** Steps with a rate from the engine's weights; they stop when the loss has blown up. The weights are left where they are. */
const tryRate = async (engine: Engine, probe: RateProbe, start: number, learningRate: number): Promise<RateReport> => {
  const { stepper, batch, roundingNoise } = probe;
  const losses = lossesOf(engine, batch);
  const blownUp = { learningRate, verdict: "diverges", change: null, gain: null } as const;
  let promised = 0;
  let memory = stepper.estimator.initial;
  for (let step = 0; step < PROBE_STEPS; step++) {
    const taken = await takeStep(stepper, step, learningRate, driving(engine, losses), memory);
    const { record } = taken;
    memory = taken.memory;
    if (record.refused || record.losses.some((loss) => loss > 2 * start + 1)) return blownUp;
    // Along g = Σ cᵢzᵢ the slope is Σ cᵢsᵢ.
    promised += learningRate * mean(slopesOf(stepper, taken).map((s) => s * s));
  }
  const [end = Number.NaN] = await losses([[]]);
  const change = end - start;
  if (!Number.isFinite(change)) return blownUp;
  if (Math.max(promised, Math.abs(change)) < 10 * roundingNoise) {
    return { learningRate, verdict: "too small to see", change, gain: null };
  }
  const gain = -change / promised;
  const verdict = gain >= ENOUGH ? "lowers" : gain >= NEXT_TO_NOTHING ? "overshoots" : "diverges";
  return { learningRate, verdict, change, gain };
};

/**
 * Tries learning rates, each for a few steps from the same weights on the same rows, so that every direction taken is downhill and
 * a rate that is small enough lowers the loss by just what the slopes promise, Σ η·s². A rate overshoots or diverges when little
 * of that is left; this tells a divergence also where the loss is bounded and falls by chance. Starts at the planned rate, then
 * looks for the edge on a grid of √10, near reach ÷ slope: a step is itself a perturbation, of radius η·|s|.
 *
 * The promise is that of a step along −g: an optimizer that divides by something else would need another.
 * The engine is brought back after each rate, also when one fails.
 */
export const probeRates = async (engine: Engine, probe: RateProbe): Promise<Pick<RatesReport, "loss" | "rates">> => {
  const { batch, reach, projectedGradient, hasTime = () => true, onProgress } = probe;
  const edge = reach === undefined || !(projectedGradient > 0) ? undefined : reach / projectedGradient;
  const base = probe.learningRate > 0 ? probe.learningRate : rounded(edge ?? 1e-3, 1);
  const rateAt = (index: number): number =>
    index === 0 ? base : Math.min(LARGEST, rounded(base * 10 ** (index / PER_DECADE), 1));
  const tried = new Map<number, RateReport>();
  const holds = ({ verdict }: RateReport): boolean => verdict === "lowers" || verdict === "too small to see";
  const next = (): number | undefined => {
    if (tried.size === 0) return 0;
    const guess = edge === undefined ? 0 : Math.floor(PER_DECADE * Math.log10(edge / base));
    if (tried.size === 1 && guess !== 0) return guess;
    // The lowest place that fails, and the highest below it that holds.
    const high = Math.min(...[...tried].flatMap(([index, report]) => (holds(report) ? [] : [index])));
    const low = Math.max(...[...tried].flatMap(([index, report]) => (holds(report) && index < high ? [index] : [])));
    if (!Number.isFinite(low)) return high - 2;
    if (!Number.isFinite(high)) return low + 2;
    return high - low > 1 ? Math.floor((low + high) / 2) : undefined;
  };

  const [loss = Number.NaN] = await lossesOf(engine, batch)([[]]);
  for (let index = next(); index !== undefined; index = next()) {
    if (tried.has(index) || tried.size === MOST_RATES || (tried.size > 0 && !hasTime())) break;
    try {
      tried.set(index, await tryRate(engine, probe, loss, rateAt(index)));
    } finally {
      await engine.rewind();
    }
    onProgress?.(tried.size, MOST_RATES);
  }
  return { loss, rates: [...tried.values()].toSorted((a, b) => a.learningRate - b.learningRate) };
};

/** Steps of a schedule that its mean is taken over. */
const SAMPLED = 1000;

/**
 * How far a run's steps carry the weights, as the radius of a perturbation: √(Σ ηₜ²)·s. With many more weights than steps the
 * directions are nearly orthogonal, and what batches disagree on adds up as a random walk. Runs whose walk was some
 * three times the reach of the slopes diverged sooner or later (MeZO, LoRA and all weights, two models); so the suggested rate is the one
 * whose walk is the reach.
 */
export const walkOf = (schedule: Schedule, projectedGradient: number): number => {
  const { steps } = schedule;
  const sampled = Array.from({ length: Math.min(steps, SAMPLED) }, (_, i) =>
    Math.floor((i * steps) / Math.min(steps, SAMPLED)),
  );
  return Math.sqrt(steps) * rms(sampled.map((step) => learningRateAt(step, schedule))) * projectedGradient;
};

/** The rate to suggest: by the walk, and one place below the highest that held where rates were tried. */
export const suggestedRate = (
  noise: NoiseReport,
  schedule: Schedule,
  projectedGradient: number,
  rates: readonly RateReport[],
): number | null => {
  const reach = reachOf(noise);
  if (reach === undefined || !(projectedGradient > 0)) return null;
  const byWalk = reach / walkOf({ ...schedule, learningRate: 1 }, projectedGradient);
  const failing = rates.find(({ verdict }) => verdict === "overshoots" || verdict === "diverges")?.learningRate;
  const held = rates.findLast(
    ({ verdict, learningRate }) => verdict === "lowers" && learningRate < (failing ?? Number.POSITIVE_INFINITY),
  );
  if (rates.length > 0 && held === undefined) return null;
  return rounded(Math.min(byWalk, (held?.learningRate ?? Number.POSITIVE_INFINITY) / Math.sqrt(10)), 1);
};
