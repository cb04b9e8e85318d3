import type { OptimizerChoice } from "../../api/types.js";
import { estimates } from "../estimates.js";
import { defineExperiment } from "../experiment.js";
import { linear } from "../functions.js";
import { at, curve, type Dot, type Frame, legend, page, plot } from "../picture.js";

/** A way to draw directions, with the second moment that theory gives it, in units of ‖∇‖². */
interface Noise {
  readonly name: string;
  readonly optimizer: Omit<OptimizerChoice, "learningRate" | "queries">;
  /** For a matrix of m × n, d = mn, and q queries. */
  theory(m: number, n: number, q: number): number;
  readonly formula: string;
  readonly series: number;
  readonly attributes?: string;
}

const RANK = { lozo: 1, subzero: 2 } as const;

/** Low-rank factors that the queries of a step share do not average out: their part is left however many queries there are. */
const noises: readonly Noise[] = [
  {
    name: "gaussian",
    optimizer: { name: "mezo" },
    theory: (m, n, q) => (m * n + q + 1) / q,
    formula: "(d + q + 1)/q",
    series: 1,
  },
  {
    name: "sphere",
    optimizer: { name: "mezo", perturbation: "sphere" },
    theory: (m, n, q) => (m * n + q - 1) / q,
    formula: "(d + q − 1)/q",
    series: 2,
  },
  {
    name: "rademacher",
    optimizer: { name: "mezo", perturbation: "rademacher" },
    theory: (m, n, q) => (m * n + q - 1) / q,
    formula: "(d + q − 1)/q",
    series: 5,
    attributes: 'stroke-dasharray="5 5"',
  },
  {
    name: "lozo, rank 1",
    optimizer: { name: "lozo", hyperparameters: { rank: RANK.lozo, refreshEvery: 1 } },
    theory(m, n, q) {
      const r = RANK.lozo;
      const alone = m * n + 2 + (2 * (m + n + 1)) / r;
      return (alone + ((q - 1) * (n + r + 1)) / r) / q;
    },
    formula: "(mn + 2 + 2(m + n + 1)/r + (q − 1)(n + r + 1)/r)/q",
    series: 3,
  },
  {
    name: "subzero, rank 2",
    optimizer: { name: "subzero", hyperparameters: { rank: RANK.subzero, refreshEvery: 1 } },
    theory(m, n, q) {
      const r = RANK.subzero;
      return ((m * n) / r ** 2) * ((r ** 2 + q + 1) / q);
    },
    formula: "mn/r² · (r² + q + 1)/q",
    series: 4,
  },
];

interface Point {
  readonly queries: number;
  readonly steps: number;
  readonly measured: number;
  readonly standardError: number;
  readonly theory: number;
}

type Measured = readonly { readonly noise: Noise; readonly points: readonly Point[] }[];

const QUERIES = [1, 2, 4, 8, 16, 32];
/** Estimates with one query; as many values are looked at with more of them, as long as it is LEAST estimates. */
const STEPS = 2000;
const LEAST = 100;
/** An ε of 1: a linear function has the same slope at any. */
const EPSILON = 1;

const pointOf = async (noise: Noise, queries: number, steps: number, seed: number): Promise<Point> => {
  const known = linear(seed);
  const [m = 1, n = 1] = known.shape;
  const size = known.gradient(known.start).reduce((sum, value) => sum + value * value, 0);
  const made = await estimates(known, {
    ...{ seed, count: steps },
    optimizer: { ...noise.optimizer, queries, epsilon: EPSILON },
  });
  const ratios = made.map((vector) => vector.reduce((sum, value) => sum + value * value, 0) / size);
  const mean = ratios.reduce((sum, ratio) => sum + ratio, 0) / steps;
  const variance = ratios.reduce((sum, ratio) => sum + (ratio - mean) ** 2, 0) / (steps - 1);
  return {
    queries,
    steps,
    measured: mean,
    standardError: Math.sqrt(variance / steps),
    theory: noise.theory(m, n, queries),
  };
};

const FRAME: Omit<Frame, "left"> = { top: 150, width: 372, height: 290 };
const WIDTH = 980;
const [LEFT, RIGHT] = [76, 560];

const queries = { scale: "log", domain: [0.8, 40], ticks: QUERIES, label: "queries a step, q" } as const;

const drawMoments = (measured: Measured): readonly string[] =>
  plot(
    { ...FRAME, left: LEFT },
    {
      x: queries,
      y: { scale: "log", domain: [1, 60], ticks: [1, 2, 5, 10, 20, 50], label: "E‖g‖² / ‖∇‖²" },
      title: "Second moment",
      note: "lines: theory, dots: measured",
    },
    (x, y) =>
      measured.flatMap(({ noise, points }) => [
        curve(
          noise.name,
          noise.series,
          points.map(({ queries, theory }): Dot => [queries, theory]),
          x,
          y,
          noise.attributes,
        ),
        ...points.map(
          ({ queries, measured: value }) =>
            `<circle class="f${noise.series}" cx="${at(x(queries))}" cy="${at(y(value))}" r="3.5"/>`,
        ),
      ]),
  );

/** Neighbours' error bars side by side, as a factor. */
const aside = (place: number, of: number): number => 1.07 ** (place - (of - 1) / 2);

const drawRatios = (measured: Measured): readonly string[] =>
  plot(
    { ...FRAME, left: RIGHT },
    {
      x: queries,
      y: { scale: "linear", domain: [0.6, 1.4], ticks: 5, label: "measured / theory" },
      title: "Against theory",
      note: "bars: two standard errors",
    },
    (x, y) => [
      `<line class="axis" x1="${at(x(queries.domain[0]))}" x2="${at(x(queries.domain[1]))}" y1="${at(y(1))}" y2="${at(y(1))}"/>`,
      ...measured.flatMap(({ noise, points }, i) =>
        points.flatMap(({ queries, measured: value, standardError, theory }) => {
          const place = at(x(queries * aside(i, measured.length)));
          const [low, high] = [-2, 2].map((errors) => at(y((value + errors * standardError) / theory)));
          return [
            `<line class="s${noise.series}" stroke-width="1.6" x1="${place}" x2="${place}" y1="${low}" y2="${high}"/>`,
            `<circle class="f${noise.series}" cx="${place}" cy="${at(y(value / theory))}" r="3"/>`,
          ];
        }),
      ),
    ],
  );

export const variance = defineExperiment<Measured>({
  summary: "second moments of estimates against the number of queries, beside the theory's",
  async measure({ seed, steps = STEPS, onProgress }) {
    const measured: { noise: Noise; points: Point[] }[] = noises.map((noise) => ({ noise, points: [] }));
    for (const [i, { noise, points }] of measured.entries()) {
      for (const queries of QUERIES)
        points.push(await pointOf(noise, queries, Math.max(Math.min(LEAST, steps), Math.round(steps / queries)), seed));
      onProgress?.(i + 1, measured.length);
    }
    return measured;
  },
  rows: (measured) =>
    measured.flatMap(({ noise, points }) =>
      points.map(({ queries, steps, measured: value, standardError, theory }) => ({
        noise: noise.name,
        queries,
        estimates: steps,
        measured: value,
        standardError,
        theory,
      })),
    ),
  draw: (measured, { seed }) =>
    page(
      {
        width: WIDTH,
        height: FRAME.top + FRAME.height + 56,
        title: "Second moment of a gradient estimate",
        subtitle: `a linear function of a 4 × 4 matrix, d = 16, seed ${seed}; the estimate's mean alone would give 1`,
      },
      [
        ...legend(
          measured.map(({ noise: { name, series, attributes = "" } }) => ({ name, series, attributes })),
          LEFT,
          96,
          WIDTH - 2 * LEFT,
        ),
        ...drawMoments(measured),
        ...drawRatios(measured),
      ],
    ),
});
