import { at, page } from "../../svg.js";
import { contenders } from "../contenders.js";
import { contours } from "../contours.js";
import { defineExperiment, finite } from "../experiment.js";
import { type Landscape, landscapes } from "../functions.js";
import { curve, type Dot, disc, legend, type Pen, style } from "../pens.js";
import { type Frame, plot } from "../plot.js";
import { smoothed } from "../smoothed.js";
import { type Tuned, tune, wordsOf } from "../tune.js";

interface Measured {
  readonly landscape: Landscape;
  readonly tuned: readonly Tuned[];
}

/** More lines than these hide one another. */
const MOST = 6;
const STEPS = 300;
const EPSILON = 1e-4;

const PITCH = 320;
const WIDTH = 24 + 3 * PITCH;
const PLANE: Omit<Frame, "left"> = { top: 146, width: 252, height: 252 };
const LOSSES: Omit<Frame, "left"> = { top: 458, width: 252, height: 150 };
/** Losses further down are not drawn. */
const LEAST = 1e-8;

const grid = { columns: 72, rows: 72 };

/** A cross where the function is least, and a ring where everybody starts. */
const marks = ([x, y]: Dot, [a, b]: Dot): readonly string[] => [
  `<path class="s0" stroke-width="2" fill="none" d="M${at(x - 5)},${at(y - 5)}l10,10m0,-10l-10,10"/>`,
  `<circle class="page s0" stroke-width="2" cx="${at(a)}" cy="${at(b)}" r="4.5"/>`,
];

const penOf = ({ optimizer }: Tuned, series: number): Pen => ({ name: optimizer.name, series });

const drawPlane = ({ landscape, tuned }: Measured, left: number): readonly string[] => {
  const { view, levels, least, minimum, start, value } = landscape;
  const [[a = 0, b = 0], [c = 0, d = 0]] = [minimum, start];
  const path = ({ trace }: Tuned): readonly Dot[] => trace.moments.map(({ x: [a = 0, b = 0] }) => [a, b]);
  return plot(
    { ...PLANE, left },
    {
      x: { scale: "linear", domain: view.x, ticks: 4 },
      y: { scale: "linear", domain: view.y, ticks: 4 },
      title: landscape.name,
      note: landscape.formula,
      grid: false,
    },
    (x, y) => [
      ...levels.map((level) => {
        const lines = contours({ ...view, ...grid, value: (a, b) => value([a, b]) - least }, level);
        const d = lines.map((dots) => `M${dots.map(([a, b]) => `${at(x(a))},${at(y(b))}`).join("L")}`).join("");
        return `<path class="contour" d="${d}"/>`;
      }),
      ...tuned.map((one, i) => curve(penOf(one, i), path(one), x, y)),
      ...tuned.flatMap((one, i) =>
        path(one)
          .slice(-1)
          .map(([a, b]) => disc(penOf(one, i), [x(a), y(b)], 3.2)),
      ),
      ...marks([x(a), y(b)], [x(c), y(d)]),
    ],
  );
};

const drawLosses = ({ landscape, tuned }: Measured, left: number, budget: number): readonly string[] => {
  const curves = tuned.map(({ trace }) => smoothed(trace, LEAST / 10));
  const lowest = Math.min(...curves.flatMap((points) => points.map(([, excess]) => excess)));
  const first = landscape.value(landscape.start) - landscape.least;
  return plot(
    { ...LOSSES, left },
    {
      x: { scale: "linear", domain: [0, budget], ticks: 4, label: "evaluations" },
      y: { scale: "log", domain: [Math.max(LEAST, lowest / 3), first * 3] },
      note: "loss above the least",
    },
    (x, y) => tuned.map((one, i) => curve(penOf(one, i), curves[i] ?? [], x, y)),
  );
};

export const trajectories = defineExperiment<readonly Measured[]>({
  summary: "paths of optimizers over three functions of two variables, in the manner of HiZOO's figure",
  async measure({ seed, optimizers, steps = STEPS, onProgress }) {
    const running = contenders(optimizers, MOST);
    const total = landscapes.length * running.length;
    let done = 0;
    const measured: Measured[] = [];
    for (const landscape of landscapes) {
      const tuned: Tuned[] = [];
      for (const contender of running) {
        tuned.push(await tune(landscape, contender, { seed, budget: 2 * steps, epsilon: EPSILON }));
        done += 1;
        onProgress?.(done, total);
      }
      measured.push({ landscape, tuned });
    }
    return measured;
  },
  rows: (measured) =>
    measured.flatMap(({ landscape, tuned }) =>
      tuned.map(({ optimizer, trace, excess }) => ({
        function: landscape.name,
        optimizer: optimizer.name,
        learningRate: optimizer.learningRate ?? null,
        settings: wordsOf(optimizer),
        evaluations: trace.moments.at(-1)?.evaluations ?? 0,
        excessLoss: finite(excess),
      })),
    ),
  draw(measured, { seed, steps = STEPS }) {
    return page(
      {
        ...{ width: WIDTH, height: LOSSES.top + LOSSES.height + 52, left: 32, style },
        title: "Paths over three functions of two variables",
        subtitle: `${2 * steps} evaluations each, learning rates by a sweep of this very run, seed ${seed}; ring: start, cross: minimum, discs: ends`,
      },
      [
        ...legend(measured[0]?.tuned.map(penOf) ?? [], 60, 92, WIDTH - 120),
        ...measured.flatMap((one, i) => [
          ...drawPlane(one, 60 + i * PITCH),
          ...drawLosses(one, 60 + i * PITCH, 2 * steps),
        ]),
      ],
    );
  },
});
