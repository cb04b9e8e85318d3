import type { EstimatorName } from "../../estimator/estimators.js";
import { contenders } from "../contenders.js";
import { estimates } from "../estimates.js";
import { defineExperiment, finite } from "../experiment.js";
import { exponential, type Known } from "../functions.js";
import { at, curve, type Dot, type Frame, legend, page, plot, SERIES } from "../picture.js";
import { type Tuned, tune, wordsOf } from "../tune.js";

/** How values are disturbed. */
interface Disturbance {
  readonly words: string;
  readonly noise: number;
  readonly round?: (value: number) => number;
  readonly estimator?: EstimatorName;
}

/** An estimate's relative error, root mean square, at each ε. */
interface Errors {
  readonly disturbance: Disturbance;
  readonly errors: readonly { readonly epsilon: number; readonly error: number }[];
}

interface Measured {
  /** An optimizer at its best, one a level. */
  readonly tuned: readonly (readonly Tuned[])[];
  readonly errors: readonly Errors[];
}

const MOST = 6;
const STEPS = 500;
/** ε of the runs. */
const EPSILON = 1e-2;
/** Standard deviations of the noise on a value. */
const LEVELS = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1];

const disturbances: readonly Disturbance[] = [
  { words: "exact", noise: 0 },
  { words: "float32", noise: 0, round: Math.fround },
  { words: "noise 0.0001", noise: 1e-4 },
  { words: "noise 0.01", noise: 1e-2 },
  { words: "float32, one-sided", noise: 0, round: Math.fround, estimator: "one-sided" },
];
const RADII = Array.from({ length: 13 }, (_, i) => Number((10 ** (-6 + i / 2)).toPrecision(2)));
const DIRECTIONS = 48;

/** The function without its curvature: any estimate of it is exact. */
const linearised = ({ value, gradient, start, shape }: Known) => {
  const slope = gradient(start);
  const base = value(start);
  return {
    start,
    shape,
    value: (x: ArrayLike<number>) =>
      slope.reduce((sum, along, i) => sum + along * ((x[i] ?? 0) - (start[i] ?? 0)), base),
  };
};

const squares = (vector: Float32Array, other?: Float32Array): number =>
  vector.reduce((sum, value, i) => sum + (value - (other?.[i] ?? 0)) ** 2, 0);

const errorsOf = async (problem: Known, disturbance: Disturbance, seed: number): Promise<Errors> => {
  const { noise, round, estimator = "two-sided" } = disturbance;
  const run = { seed, count: DIRECTIONS };
  const exact = await estimates(linearised(problem), { ...run, optimizer: { name: "mezo", epsilon: 1 } });
  const size = exact.reduce((sum, vector) => sum + squares(vector), 0);
  const errors: { epsilon: number; error: number }[] = [];
  for (const epsilon of RADII) {
    const made = await estimates(problem, {
      ...{ ...run, noise, optimizer: { name: "mezo", epsilon, estimator } },
      ...(round === undefined ? {} : { round }),
    });
    const missed = made.reduce((sum, vector, i) => sum + squares(vector, exact[i]), 0);
    errors.push({ epsilon, error: Math.sqrt(missed / size) });
  }
  return { disturbance, errors };
};

const bestOf = ({ errors }: Errors) => errors.reduce((least, one) => (one.error < least.error ? one : least));

const FRAME: Omit<Frame, "left"> = { top: 164, width: 372, height: 270 };
const WIDTH = 980;
const [LEFT, RIGHT] = [76, 560];

const drawLevels = ({ tuned }: Measured): readonly string[] =>
  plot(
    { ...FRAME, left: LEFT },
    {
      x: { scale: "log", domain: [5e-6, 2e-1], label: "noise on each value (standard deviation)" },
      y: { scale: "log", domain: [1e-4, 1], label: "loss above the least, at the end" },
      title: "What is reached",
      note: `ε ${EPSILON}`,
    },
    (x, y) =>
      tuned.flatMap((own, i) => [
        curve(
          own[0]?.optimizer.name ?? "",
          i,
          own
            .map(({ excess }, level): Dot => [LEVELS[level] ?? 0, excess])
            .filter(([, excess]) => Number.isFinite(excess)),
          x,
          y,
        ),
        ...own.flatMap(({ excess }, level) =>
          Number.isFinite(excess)
            ? [`<circle class="f${i % SERIES}" cx="${at(x(LEVELS[level] ?? 0))}" cy="${at(y(excess))}" r="3"/>`]
            : [],
        ),
      ]),
  );

const series = [0, 2, 3, 1, 2];
const attributesOf = ({ estimator }: Disturbance): string =>
  estimator === "one-sided" ? 'stroke-dasharray="5 4"' : "";

const drawErrors = ({ errors }: Measured): readonly string[] =>
  plot(
    { ...FRAME, left: RIGHT },
    {
      x: { scale: "log", domain: [7e-7, 1.5], label: "perturbation radius ε" },
      y: { scale: "log", domain: [3e-6, 1e3], ticks: 5, label: "relative error, root mean square" },
      title: "Error of the projected gradient",
      note: "noise ∝ 1/ε, bias ∝ ε²",
    },
    (x, y) =>
      errors.flatMap((one, i) => {
        const { epsilon, error } = bestOf(one);
        const points = one.errors.map(({ epsilon, error }): Dot => [epsilon, error]);
        return [
          curve(one.disturbance.words, series[i] ?? 0, points, x, y, attributesOf(one.disturbance)),
          `<circle class="f${series[i]}" cx="${at(x(epsilon))}" cy="${at(y(error))}" r="4"/>`,
        ];
      }),
  );

export const noise = defineExperiment<Measured>({
  summary: "noisy and rounded losses: what optimizers still reach, and which ε is best",
  async measure({ seed, optimizers, steps = STEPS, onProgress }) {
    const problem = exponential(seed);
    const running = contenders(optimizers, MOST);
    const total = running.length + disturbances.length;
    const tuned: (readonly Tuned[])[] = [];
    for (const contender of running) {
      const own: Tuned[] = [];
      for (const noise of LEVELS)
        own.push(await tune(problem, contender, { seed, noise, budget: 2 * steps, epsilon: EPSILON }, own.at(-1)));
      tuned.push(own);
      onProgress?.(tuned.length, total);
    }
    const errors: Errors[] = [];
    for (const disturbance of disturbances) {
      errors.push(await errorsOf(problem, disturbance, seed));
      onProgress?.(running.length + errors.length, total);
    }
    return { tuned, errors };
  },
  rows: ({ tuned, errors }) => [
    ...tuned.flatMap((own) =>
      own.map(({ optimizer, excess }, level) => ({
        part: "reached",
        who: optimizer.name,
        noise: LEVELS[level] ?? null,
        epsilon: EPSILON,
        learningRate: optimizer.learningRate ?? null,
        settings: wordsOf(optimizer),
        value: finite(excess),
      })),
    ),
    ...errors.flatMap((one) =>
      one.errors.map(({ epsilon, error }) => ({
        part: "error",
        who: one.disturbance.words,
        noise: one.disturbance.noise,
        epsilon,
        learningRate: null,
        settings: "",
        value: error,
      })),
    ),
  ],
  draw(measured, { seed }) {
    return page(
      {
        width: WIDTH,
        height: FRAME.top + FRAME.height + 56,
        title: "Noisy and rounded losses",
        subtitle: `mean of e^(−xᵢ) + xᵢ in 64 variables, seed ${seed}; large dots: the best ε`,
      },
      [
        ...legend(
          measured.tuned.map((own, series) => ({ name: own[0]?.optimizer.name ?? "", series })),
          LEFT,
          94,
          FRAME.width,
        ),
        ...legend(
          measured.errors.map(({ disturbance }, i) => ({
            name: disturbance.words,
            series: series[i] ?? 0,
            attributes: attributesOf(disturbance),
          })),
          RIGHT,
          94,
          FRAME.width,
        ),
        ...drawLevels(measured),
        ...drawErrors(measured),
      ],
    );
  },
});
