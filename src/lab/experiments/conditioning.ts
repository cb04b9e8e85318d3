import { page } from "../../svg.js";
import { contenders } from "../contenders.js";
import { defineExperiment, finite } from "../experiment.js";
import { quadratic } from "../functions.js";
import { curve, legend, type Pen, style } from "../pens.js";
import { plot } from "../plot.js";
import { smoothed } from "../smoothed.js";
import { type Tuned, tuneAll, wordsOf } from "../tune.js";

/** A quadratic, and how its losses are drawn. */
interface Case {
  readonly condition: number;
  readonly rotated?: boolean;
  readonly pen: Pen;
}

const cases: readonly Case[] = [
  { condition: 10, pen: { name: "condition 10", series: 2 } },
  { condition: 1e3, pen: { name: "1,000", series: 3 } },
  { condition: 1e3, rotated: true, pen: { name: "1,000, rotated", series: 3, dashed: true } },
  { condition: 1e5, pen: { name: "100,000", series: 1 } },
];

const problemOf = ({ condition, rotated = false }: Case, seed: number) => quadratic(condition, seed, { rotated });

interface Measured {
  readonly name: string;
  /** At its best, one a case. */
  readonly tuned: readonly Tuned[];
}

const STEPS = 400;
const EPSILON = 1e-4;

const COLUMNS = 4;
const PITCH = { x: 236, y: 152 };
const FRAME = { width: 204, height: 104 };
const [LEFT, TOP] = [72, 136];
const WIDTH = LEFT + COLUMNS * PITCH.x;
/** What is left is not drawn below that. */
const LEAST = 1e-6;

/** What a run still has of the loss that it began with, over the evaluations. */
const dots = ({ trace }: Tuned) => {
  const first = trace.moments[0]?.excess ?? 1;
  return smoothed(trace, LEAST * first).map(([evaluations, excess]) => [evaluations, excess / first] as const);
};

export const conditioning = defineExperiment<readonly Measured[]>({
  summary: "quadratics of 64 variables, from even to steep: what curvature does to each optimizer",
  async measure({ seed, optimizers, steps = STEPS, onProgress }) {
    const problems = cases.map((one) => ({ problem: problemOf(one, seed) }));
    const running = contenders(optimizers);
    const measured: Measured[] = [];
    for (const contender of running) {
      const tuned = await tuneAll(problems, contender, { seed, budget: 2 * steps, epsilon: EPSILON });
      measured.push({ name: contender.name, tuned });
      onProgress?.(measured.length, running.length);
    }
    return measured;
  },
  rows: (measured) =>
    cases.flatMap((one, i) =>
      measured.flatMap(({ name, tuned }) =>
        tuned.slice(i, i + 1).map((own) => ({
          condition: one.condition,
          rotated: one.rotated ? "yes" : "no",
          optimizer: name,
          learningRate: own.optimizer.learningRate ?? null,
          settings: wordsOf(own.optimizer),
          evaluations: own.trace.moments.at(-1)?.evaluations ?? 0,
          lossLeft: finite(own.excess / (own.trace.moments[0]?.excess ?? 1)),
        })),
      ),
    ),
  draw(measured, { seed, steps = STEPS }) {
    const curves = measured.map(({ tuned }) => tuned.map(dots));
    const lowest = Math.min(...curves.flat(2).map(([, left]) => left));
    const domain = [10 ** Math.min(-1, Math.floor(Math.log10(lowest))), 2] as const;
    const baseline: Pen = { name: `${measured[0]?.name} on the same`, series: 0, faint: true };
    const rows = Math.ceil(measured.length / COLUMNS);
    return page(
      {
        ...{ width: WIDTH, height: TOP + rows * PITCH.y + 4, left: 32, style },
        title: "Ill-conditioned quadratics in 64 variables",
        subtitle: `loss left of the start's against evaluations; learning rates by a sweep of this very run, seed ${seed}`,
      },
      [
        ...legend([...cases.map(({ pen }) => pen), baseline], LEFT, 92, WIDTH - 2 * LEFT),
        ...measured.flatMap(({ name }, i) => {
          const [column, row] = [i % COLUMNS, Math.floor(i / COLUMNS)];
          const isLowest = i + COLUMNS >= measured.length;
          return plot(
            { ...FRAME, left: LEFT + column * PITCH.x, top: TOP + row * PITCH.y },
            {
              x: { scale: "linear", domain: [0, 2 * steps], ticks: [0, steps, 2 * steps], numbers: isLowest },
              y: { scale: "log", domain, ticks: 5, numbers: column === 0 },
              title: name,
            },
            (x, y) => [
              ...(i === 0 ? [] : (curves[0] ?? []).map((points) => curve(baseline, points, x, y))),
              ...cases.map(({ pen }, k) => curve({ ...pen, name: `${name}: ${pen.name}` }, curves[i]?.[k] ?? [], x, y)),
            ],
          );
        }),
      ],
    );
  },
});
