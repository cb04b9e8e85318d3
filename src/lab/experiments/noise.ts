import { page } from "../../svg.js";
import { contenders } from "../contenders.js";
import { defineExperiment, finite } from "../experiment.js";
import { exponential } from "../functions.js";
import { curve, type Dot, disc, legend, style } from "../pens.js";
import { type Frame, plot } from "../plot.js";
import { type Tuned, tuneAll, wordsOf } from "../tune.js";

interface Measured {
  readonly name: string;
  /** At its best, one a level. */
  readonly tuned: readonly Tuned[];
}

const MOST = 6;
const STEPS = 500;
const EPSILON = 1e-2;
/** Standard deviations of the noise on a value. */
const LEVELS = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1];

const WIDTH = 740;
const FRAME: Frame = { left: 84, top: 122, width: WIDTH - 124, height: 300 };

export const noise = defineExperiment<readonly Measured[]>({
  summary: "losses with noise on each: what optimizers still reach",
  async measure({ seed, optimizers, steps = STEPS, onProgress }) {
    const problem = exponential(seed);
    const tasks = LEVELS.map((noise) => ({ problem, noise }));
    const running = contenders(optimizers, MOST);
    const measured: Measured[] = [];
    for (const contender of running) {
      const tuned = await tuneAll(tasks, contender, { seed, budget: 2 * steps, epsilon: EPSILON });
      measured.push({ name: contender.name, tuned });
      onProgress?.(measured.length, running.length);
    }
    return measured;
  },
  rows: (measured) =>
    measured.flatMap(({ name, tuned }) =>
      tuned.map(({ optimizer, excess }, level) => ({
        optimizer: name,
        noise: LEVELS[level] ?? null,
        learningRate: optimizer.learningRate ?? null,
        settings: wordsOf(optimizer),
        excessLoss: finite(excess),
      })),
    ),
  draw(measured, { seed, steps = STEPS }) {
    const pens = measured.map(({ name }, series) => ({ name, series }));
    const lines = measured.map(({ tuned }) =>
      tuned
        .map(({ excess }, level): Dot => [LEVELS[level] ?? 0, excess])
        .filter(([, excess]) => Number.isFinite(excess)),
    );
    const least = Math.min(0.1, ...lines.flat().map(([, excess]) => excess));
    return page(
      {
        ...{ width: WIDTH, height: FRAME.top + FRAME.height + 56, left: 32, style },
        title: "What noise on the loss leaves to reach",
        subtitle: `mean of e^(−xᵢ) + xᵢ in 64 variables, ${2 * steps} evaluations, ε ${EPSILON}, seed ${seed}`,
      },
      [
        ...legend(pens, FRAME.left, 92, FRAME.width),
        ...plot(
          FRAME,
          {
            x: { scale: "log", domain: [5e-6, 2e-1], label: "noise on each value, standard deviation" },
            y: {
              scale: "log",
              domain: [10 ** Math.floor(Math.log10(least)), 1],
              label: "loss above the least, at the end",
            },
          },
          (x, y) =>
            pens.flatMap((pen, i) => {
              const points = lines[i] ?? [];
              return [curve(pen, points, x, y), ...points.map(([a, b]) => disc(pen, [x(a), y(b)], 3))];
            }),
        ),
      ],
    );
  },
});
