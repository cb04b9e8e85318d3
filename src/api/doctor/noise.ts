import { packs, treeSize } from "../../batch/pack.js";
import type { TokenTree } from "../../data/tree.js";
import type { Engine } from "../../engine/engine.js";
import { runOf } from "../../engine/feeds.js";
import { ZerothError } from "../../errors.js";
import type { Point } from "../../estimator/estimator.js";
import type { RunnableModel } from "../../model/onnx/imported.js";
import { lossOf } from "../../objective/objective.js";
import type { Key } from "../../random/key.js";
import { type Batch, batchLosses } from "../../train/loop.js";
import type { AskedObjective } from "../examples.js";
import type { NoiseReport, RadiusReport } from "../types.js";
import { askedBatch } from "../written.js";
import { mean, rms } from "./statistics.js";

/** Losses at points of the weights' space. */
export type Losses = (points: readonly Point[]) => Promise<readonly number[]>;

export const lossesOf =
  (engine: Engine, batch: Batch): Losses =>
  (points) =>
    batchLosses(engine, batch, points);

export const batchOf = (family: RunnableModel, objective: AskedObjective, trees: readonly TokenTree[]): Batch => {
  const { asks } = objective;
  if (asks !== undefined) return askedBatch(asks, trees);
  const made = packs(trees, { head: objective.head });
  return { runs: made.map((pack) => runOf(family, pack)), loss: (outputs) => lossOf(objective, made, outputs) };
};

/** Tokens of the batch that noise is measured on. */
const FEW_TOKENS = 64;

/** The shortest rows of a step, of so few tokens that a forward pass is quick: one at least. */
export const smallBatch = (family: RunnableModel, objective: AskedObjective, trees: readonly TokenTree[]): Batch => {
  const ascending = trees.toSorted((a, b) => treeSize(a) - treeSize(b));
  let tokens = 0;
  const few = ascending.filter((tree, i) => {
    tokens += treeSize(tree);
    return i === 0 || tokens <= FEW_TOKENS;
  });
  return batchOf(family, objective, few);
};

const TRIES = 4;

/**
 * ECNoise (Moré and Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33, 2011): the standard deviation of the noise
 * in values of a smooth function at equal distances. The k-th differences of the smooth part vanish as k grows; those of
 * independent noise have variance σ²·(2k)!/(k!)². Levels that agree within a factor of 4 for three k are the noise.
 *
 * @returns `found`; `equal` where half the neighbours are equal (too close together), `smooth` where no levels agree (too far
 *   apart): then `level` is no more than a bound
 */
export const computationalNoise = (
  values: readonly number[],
): { readonly level: number; readonly verdict: "found" | "equal" | "smooth" } => {
  const levels: { level: number; turns: boolean; zeros: number }[] = [];
  let gamma = 1;
  let row = values;
  for (let k = 1; k < values.length; k++) {
    const before = row;
    row = row.slice(1).map((value, i) => value - (before[i] ?? Number.NaN));
    gamma *= k / (2 * (2 * k - 1));
    levels.push({
      level: Math.sqrt(gamma * mean(row.map((value) => value * value))),
      turns: row.some((value) => value > 0) && row.some((value) => value < 0),
      zeros: row.filter((value) => value === 0).length / row.length,
    });
  }
  const smallest = Math.min(...levels.map(({ level }) => level));
  if ((levels[0]?.zeros ?? 1) >= 0.5) return { level: smallest, verdict: "equal" };
  const found = levels.find(({ turns }, k) => {
    const three = levels.slice(k, k + 3).map(({ level }) => level);
    return turns && three.length === 3 && Math.max(...three) <= 4 * Math.min(...three);
  });
  return found === undefined ? { level: smallest, verdict: "smooth" } : { level: found.level, verdict: "found" };
};

/** The noise of the loss along a direction; the spacing starts far below a usual ε and is changed until the noise shows. */
const noiseAlong = async (losses: Losses, key: Key, usual: number, reach: number): Promise<number> => {
  const rungs = Array.from({ length: 2 * reach + 1 }, (_, i) => i - reach);
  let spacing = usual / 100;
  let level = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const at = spacing;
    const values = await losses(rungs.map((rung) => (rung === 0 ? [] : [{ key, scale: rung * at }])));
    const centre = values[reach];
    if (centre === undefined || !Number.isFinite(centre)) {
      throw new ZerothError(
        `The loss on the first training rows is ${centre} before any step.\nThe model's weights may be damaged: evaluate it, or fetch it again.`,
      );
    }
    const finite = values.every(Number.isFinite);
    const found = finite ? computationalNoise(values) : ({ level, verdict: "smooth" } as const);
    // A loss is a float64 sum: its own spacing bounds the noise from below.
    level = Math.max(found.level, Math.abs(centre) * Number.EPSILON);
    if (found.verdict === "found") break;
    spacing *= found.verdict === "equal" ? 10 : 0.1;
  }
  return level;
};

/** Signal-to-noise ratio and curvature bias of an ε to train with. */
export const LEAST_SIGNAL = 10;
const MOST_BIAS = 0.2;
/** Relative error of a projected gradient, noise and bias together, that is as good as none. */
const LITTLE = 0.05;
/** Signal-to-noise ratio of a projected gradient that others are compared with. */
const CLEAR = 100;

export const isGood = ({ signalToNoise, bias }: RadiusReport): boolean =>
  signalToNoise >= LEAST_SIGNAL && bias !== null && bias <= MOST_BIAS;

export interface NoiseMeasurement {
  /** The planned ε. */
  readonly epsilon: number;
  /** An ε that is known to be about right, the optimizer's default: where to look for the noise, and for an ε if the planned one is off. */
  readonly usual: number;
  readonly keys: readonly Key[];
  /** Radii to try, as multiples of ε. */
  readonly factors: readonly number[];
  /** Places to either side of θ that the rounding noise is measured at: 2 at least. */
  readonly rungs: number;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Multiples of the planned ε, and of the usual one: all where the planned one is far from it, else those above. Ascending. */
const radiiOf = ({ epsilon, usual, factors }: NoiseMeasurement): readonly number[] => {
  const far = Math.abs(Math.log10(epsilon / usual)) > 1;
  const others = epsilon === usual ? [] : factors.filter((factor) => far || factor > 1);
  const all = [epsilon, ...factors.map((factor) => epsilon * factor), ...others.map((factor) => usual * factor)];
  return [...new Set(all)].filter((radius) => radius > 0 && Number.isFinite(radius)).sort((x, y) => x - y);
};

/**
 * Measures a loss's rounding noise σ and, for some radii ε, the two-sided difference D(ε) = L(θ + εz) − L(θ − εz) along a few
 * directions. Signal to noise is rms D ÷ √2σ. The bias is how far D/2ε is from its value at the smallest radius that is clear of
 * the noise, relative: ε²/6·D³L[z,z,z] ÷ zᵀ∇L to leading order (algorithm reference, section 1.1); below that radius it
 * cannot be told from noise and counts as 0.
 *
 * @throws ZerothError when the loss is not finite at θ itself
 */
export const measureNoise = async (losses: Losses, measurement: NoiseMeasurement): Promise<NoiseReport> => {
  const { epsilon, usual, keys, onProgress } = measurement;
  const radii = radiiOf(measurement);
  const [key] = keys;
  if (key === undefined) throw new RangeError("noise needs a direction");
  const roundingNoise = await noiseAlong(losses, key, usual, measurement.rungs);
  onProgress?.(1, radii.length + 1);

  const measured: { radius: number; slopes: readonly number[]; difference: number; signalToNoise: number }[] = [];
  for (const radius of radii) {
    const points = keys.flatMap((k): Point[] => [[{ key: k, scale: radius }], [{ key: k, scale: -radius }]]);
    const values = await losses(points);
    const differences = keys.map((_, i) => (values[2 * i] ?? Number.NaN) - (values[2 * i + 1] ?? Number.NaN));
    const difference = rms(differences);
    const signalToNoise = Number.isFinite(difference) ? difference / (Math.SQRT2 * roundingNoise) : 0;
    measured.push({ radius, slopes: differences.map((d) => d / (2 * radius)), difference, signalToNoise });
    onProgress?.(measured.length + 1, radii.length + 1);
  }

  const clearest = measured.reduce((best, next) => (next.signalToNoise > best.signalToNoise ? next : best));
  const reference = measured.find(({ signalToNoise }) => signalToNoise >= CLEAR) ?? clearest;
  const steepness = rms(reference.slopes);
  const biasOf = (radius: number, slopes: readonly number[]): number | null => {
    if (!slopes.every(Number.isFinite)) return null;
    if (radius <= reference.radius || steepness === 0) return 0;
    return rms(slopes.map((slope, i) => slope - (reference.slopes[i] ?? Number.NaN))) / steepness;
  };
  const reports = measured.map(
    ({ radius, slopes, difference, signalToNoise }): RadiusReport => ({
      epsilon: radius,
      difference: Number.isFinite(difference) ? difference : null,
      signalToNoise,
      bias: biasOf(radius, slopes),
    }),
  );

  const errorOf = ({ signalToNoise, bias }: RadiusReport): number => Math.hypot(1 / signalToNoise, bias ?? 1);
  const good = reports.filter(isGood);
  // Of radii that err little the largest: the noise may be more on other rows.
  const recommended =
    good.find((report) => report.epsilon === epsilon) ??
    good.findLast((report) => errorOf(report) <= LITTLE) ??
    good.toSorted((a, b) => errorOf(a) - errorOf(b))[0];
  return {
    epsilon,
    roundingNoise,
    projectedGradient: steepness,
    radii: reports,
    recommended: recommended?.epsilon ?? null,
  };
};

/**
 * The radius up to which the loss is near enough to a straight line for its slope to hold: where the bias, which grows as ε²,
 * passes `MOST_BIAS`; a lower bound where no radius has that much.
 */
export const reachOf = ({ radii }: NoiseReport): number | undefined => {
  const last = radii.findLastIndex(isGood);
  const [inside, outside] = [radii[last], radii[last + 1]];
  if (inside === undefined) return undefined;
  if (outside === undefined) return inside.epsilon;
  const crossing = outside.bias === null ? inside.epsilon : outside.epsilon * Math.sqrt(MOST_BIAS / outside.bias);
  return Math.max(inside.epsilon, Math.min(outside.epsilon, crossing));
};

interface Extent extends Pick<NoiseMeasurement, "factors" | "rungs"> {
  readonly directions: number;
}
export const THOROUGH: Extent = { directions: 3, factors: [1 / 100, 1 / 10, 1 / 3, 1, 3, 10], rungs: 3 };
/** 13 forward passes of few tokens: for a model of 135M parameters on two cores 2 s with LoRA, 5 s with all weights. */
const QUICK: Extent = { directions: 2, factors: [1 / 10, 1], rungs: 2 };

export interface NoiseCheck extends Pick<NoiseMeasurement, "epsilon" | "usual" | "onProgress"> {
  /** Few rows: see `smallBatch`. */
  readonly batch: Batch;
  /** The run's seed: the directions are those of its first steps. */
  readonly seed: bigint;
  /** Default `QUICK`. */
  readonly extent?: Extent;
}

/**
 * Measures the noise floor of an open engine's loss (`measureNoise`) and leaves its weights as they were, bit for bit. Where
 * perturbed weights are made in copies (LoRA), evaluating does not touch them. Where they are made in place (`full`), the walks
 * to and from each point round: the engine is rewound afterwards, also when the check fails.
 */
export const checkNoise = async (engine: Engine, check: NoiseCheck): Promise<NoiseReport> => {
  const { epsilon, usual, seed, batch, onProgress, extent = QUICK } = check;
  const { directions, factors, rungs } = extent;
  const keys = Array.from({ length: directions }, (_, step): Key => ({ seed, stream: "noise", step, query: 0 }));
  try {
    return await measureNoise(lossesOf(engine, batch), { epsilon, usual, keys, factors, rungs, onProgress });
  } finally {
    await engine.rewind();
  }
};
