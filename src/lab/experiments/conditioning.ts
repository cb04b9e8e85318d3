import { contenders } from "../contenders.js";
import { defineExperiment, finite } from "../experiment.js";
import { type Problem, quadratic } from "../functions.js";
import { curve, type Dot, legend, page, plot, smoothed } from "../picture.js";
import { type Tuned, tune, wordsOf } from "../tune.js";

interface Measured {
  readonly problems: readonly Problem[];
  /** An optimizer at its best, one a problem. */
  readonly tuned: readonly (readonly Tuned[])[];
}

const STEPS = 400;
const EPSILON = 1e-4;

const variations = (seed: number) => [
  { words: "condition 10", series: 2, problem: quadratic(10, seed) },
  { words: "1,000", series: 3, problem: quadratic(1e3, seed) },
  {
    words: "1,000, rotated",
    series: 3,
    attributes: 'stroke-dasharray="5 4"',
    problem: quadratic(1e3, seed, { rotated: true }),
  },
  { words: "100,000", series: 1, problem: quadratic(1e5, seed) },
];

const COLUMNS = 5;
const PITCH = { x: 190, y: 152 };
const FRAME = { width: 158, height: 104 };
const [LEFT, TOP] = [72, 136];
const WIDTH = LEFT + COLUMNS * PITCH.x;
const LEAST = 1e-3;

/** What a run still has of the loss that it began with, over the evaluations. */
const dots = ({ trace: { moments } }: Tuned): readonly Dot[] => {
  const first = moments[0]?.excess ?? 1;
  return smoothed(moments.map(({ evaluations, excess }): Dot => [evaluations, Math.max(excess / first, LEAST / 100)]));
};

export const conditioning = defineExperiment<Measured>({
  summary: "quadratics of 64 variables, from even to steep: what curvature does to each optimizer",
  async measure({ seed, optimizers, steps = STEPS, onProgress }) {
    const problems = variations(seed).map(({ problem }) => problem);
    const running = contenders(optimizers, Number.POSITIVE_INFINITY);
    const tuned: (readonly Tuned[])[] = [];
    for (const [i, contender] of running.entries()) {
      const own: Tuned[] = [];
      for (const problem of problems)
        own.push(await tune(problem, contender, { seed, budget: 2 * steps, epsilon: EPSILON }, own.at(-1)));
      tuned.push(own);
      onProgress?.(i + 1, running.length);
    }
    return { problems, tuned };
  },
  rows: ({ problems, tuned }) =>
    problems.flatMap((problem, i) =>
      tuned.flatMap((own) => {
        const one = own[i];
        if (one === undefined) return [];
        const { optimizer, trace, excess } = one;
        return {
          function: problem.name,
          optimizer: optimizer.name,
          learningRate: optimizer.learningRate ?? null,
          settings: wordsOf(optimizer),
          evaluations: trace.moments.at(-1)?.evaluations ?? 0,
          lossLeft: finite(excess / (trace.moments[0]?.excess ?? 1)),
        };
      }),
    ),
  draw({ tuned }, { seed, steps = STEPS }) {
    const lines = variations(seed);
    const rows = Math.ceil(tuned.length / COLUMNS);
    const height = TOP + rows * PITCH.y + 20;
    const entries = [
      ...lines.map(({ words, series, attributes = "" }) => ({ name: words, series, attributes })),
      { name: "mezo on the same", series: 0, attributes: 'opacity="0.3"' },
    ];
    const [baseline] = tuned;
    return page(
      {
        width: WIDTH,
        height,
        title: "Ill-conditioned quadratics in 64 variables",
        subtitle: `loss left of the start's against evaluations; learning rates by a sweep of this very run, seed ${seed}`,
      },
      [
        ...legend(entries, LEFT, 92, WIDTH - 2 * LEFT),
        ...tuned.flatMap((own, i) => {
          const [column, row] = [i % COLUMNS, Math.floor(i / COLUMNS)];
          const isLowest = i + COLUMNS >= tuned.length;
          return plot(
            { ...FRAME, left: LEFT + column * PITCH.x, top: TOP + row * PITCH.y },
            {
              x: { scale: "linear", domain: [0, 2 * steps], ticks: [0, steps, 2 * steps], numbers: isLowest },
              y: { scale: "log", domain: [LEAST, 2], ticks: 5, numbers: column === 0 },
              title: own[0]?.optimizer.name ?? "",
            },
            (x, y) => [
              ...(i === 0 ? [] : (baseline ?? [])).map((one) => curve("mezo", 0, dots(one), x, y, 'opacity="0.3"')),
              ...own.map((one, k) => {
                const { words = "", series = 0, attributes = "" } = lines[k] ?? {};
                return curve(`${one.optimizer.name}: ${words}`, series, dots(one), x, y, attributes);
              }),
            ],
          );
        }),
      ],
    );
  },
});
