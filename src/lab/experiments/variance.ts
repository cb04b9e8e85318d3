import type { OptimizerChoice } from "../../api/types.js";
import { at, page } from "../../svg.js";
import { estimates } from "../estimates.js";
import { defineExperiment } from "../experiment.js";
import { linear } from "../functions.js";
import { curve, type Dot, disc, legend, type Pen, stroke, style } from "../pens.js";
import { type Frame, plot } from "../plot.js";

/** A way to draw directions, with the second moment that theory gives it, in units of ‖∇‖². */
interface Noise {
  readonly pen: Pen;
  readonly optimizer: Omit<OptimizerChoice, "learningRate" | "queries">;
  /** For a matrix of m × n and q queries. */
  theory(m: number, n: number, q: number): number;
}

/** Those of LOZO and of SubZero. */
const [LOZO, SUBZERO] = [1, 2];

const noises: readonly Noise[] = [
  {
    pen: { name: "gaussian", series: 1 },
    optimizer: { name: "mezo" },
    theory: (m, n, q) => (m * n + q + 1) / q,
  },
  {
    pen: { name: "sphere", series: 2 },
    optimizer: { name: "mezo", perturbation: "sphere" },
    theory: (m, n, q) => (m * n + q - 1) / q,
  },
  {
    pen: { name: "rademacher", series: 5, dashed: true },
    optimizer: { name: "mezo", perturbation: "rademacher" },
    theory: (m, n, q) => (m * n + q - 1) / q,
  },
  // The factors that the queries of a step share do not average out: their part is left however many queries there are.
  {
    pen: { name: `lozo, rank ${LOZO}`, series: 3 },
    optimizer: { name: "lozo", hyperparameters: { rank: LOZO, refreshEvery: 1 } },
    theory(m, n, q) {
      const alone = m * n + 2 + (2 * (m + n + 1)) / LOZO;
      return (alone + ((q - 1) * (n + LOZO + 1)) / LOZO) / q;
    },
  },
  {
    pen: { name: `subzero, rank ${SUBZERO}`, series: 4 },
    optimizer: { name: "subzero", hyperparameters: { rank: SUBZERO, refreshEvery: 1 } },
    theory: (m, n, q) => ((m * n) / SUBZERO ** 2) * ((SUBZERO ** 2 + q + 1) / q),
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
const LEAST = 200;
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
      note: "lines: theory, discs: measured",
    },
    (x, y) =>
      measured.flatMap(({ noise: { pen }, points }) => [
        curve(
          pen,
          points.map(({ queries, theory }): Dot => [queries, theory]),
          x,
          y,
        ),
        ...points.map(({ queries, measured: value }) => disc(pen, [x(queries), y(value)], 3.5)),
      ]),
  );

/** Neighbours' error bars side by side, as a factor. */
const aside = (place: number, of: number): number => 1.07 ** (place - (of - 1) / 2);

const drawRatios = (measured: Measured): readonly string[] =>
  plot(
    { ...FRAME, left: RIGHT },
    {
      x: queries,
      y: { scale: "linear", domain: [0.5, 1.5], label: "measured / theory" },
      title: "Against theory",
      note: "bars: two standard errors",
    },
    (x, y) => [
      `<line class="axis" x1="${at(x(queries.domain[0]))}" x2="${at(x(queries.domain[1]))}" y1="${at(y(1))}" y2="${at(y(1))}"/>`,
      ...measured.flatMap(({ noise: { pen }, points }, i) =>
        points.flatMap(({ queries, measured: value, standardError, theory }) => {
          const place = x(queries * aside(i, measured.length));
          const end = (errors: number): Dot => [place, y((value + errors * standardError) / theory)];
          return [stroke(pen, end(-2), end(2)), disc(pen, end(0), 3)];
        }),
      ),
    ],
  );

export const variance = defineExperiment<Measured>({
  summary: "second moments of estimates (of mezo, lozo and subzero) against the number of queries, beside the theory's",
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
        noise: noise.pen.name,
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
        ...{ width: WIDTH, height: FRAME.top + FRAME.height + 56, left: 32, style },
        title: "Second moment of a gradient estimate",
        subtitle: `a linear function of a 4 × 4 matrix, d = 16, seed ${seed}; the estimate's mean alone would give 1`,
      },
      [
        ...legend(
          measured.map(({ noise }) => noise.pen),
          LEFT,
          92,
          WIDTH - 2 * LEFT,
        ),
        ...drawMoments(measured),
        ...drawRatios(measured),
      ],
    ),
});
