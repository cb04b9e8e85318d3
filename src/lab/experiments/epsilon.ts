import { page } from "../../svg.js";
import { type EstimateOptions, estimates } from "../estimates.js";
import { defineExperiment } from "../experiment.js";
import { exponential, type Known } from "../functions.js";
import { curve, type Dot, disc, legend, type Pen, style } from "../pens.js";
import { type Frame, plot } from "../plot.js";

/** How values are disturbed, and how estimates of them are drawn. */
interface Disturbance extends Pick<EstimateOptions, "noise" | "round"> {
  readonly oneSided?: boolean;
  readonly pen: Pen;
}

const disturbances: readonly Disturbance[] = [
  { pen: { name: "exact", series: 0 } },
  { round: Math.fround, pen: { name: "float32", series: 2 } },
  { round: Math.fround, oneSided: true, pen: { name: "float32, one-sided", series: 2, dashed: true } },
  { noise: 1e-4, pen: { name: "noise 0.0001", series: 3 } },
  { noise: 1e-2, pen: { name: "noise 0.01", series: 1 } },
];

/** An estimate's relative error, root mean square, at each ε. */
interface Measured {
  readonly pen: Pen;
  readonly errors: readonly { readonly epsilon: number; readonly error: number }[];
}

const RADII = Array.from({ length: 13 }, (_, i) => Number((10 ** (-6 + i / 2)).toPrecision(2)));
const DIRECTIONS = 48;

/** The function without its curvature: any estimate of it is exact. */
const linearised = ({ value, gradient, start, shape }: Known): Pick<Known, "value" | "start" | "shape"> => {
  const slope = gradient(start);
  const base = value(start);
  return {
    start,
    shape,
    value: (x) => slope.reduce((sum, along, i) => sum + along * ((x[i] ?? 0) - (start[i] ?? 0)), base),
  };
};

const squares = (vector: Float32Array, other?: Float32Array): number =>
  vector.reduce((sum, value, i) => sum + (value - (other?.[i] ?? 0)) ** 2, 0);

const measure = async (problem: Known, seed: number, { pen, oneSided, ...disturbed }: Disturbance, count: number) => {
  const run = { seed, count };
  const exact = await estimates(linearised(problem), { ...run, optimizer: { name: "mezo", epsilon: 1 } });
  const size = exact.reduce((sum, vector) => sum + squares(vector), 0);
  const estimator = oneSided ? "one-sided" : "two-sided";
  const errors: { epsilon: number; error: number }[] = [];
  for (const epsilon of RADII) {
    const made = await estimates(problem, { ...run, ...disturbed, optimizer: { name: "mezo", epsilon, estimator } });
    const missed = made.reduce((sum, vector, i) => sum + squares(vector, exact[i]), 0);
    errors.push({ epsilon, error: Math.sqrt(missed / size) });
  }
  return { pen, errors };
};

const bestOf = ({ errors }: Measured) => errors.reduce((least, one) => (one.error < least.error ? one : least));

const WIDTH = 740;
const FRAME: Frame = { left: 84, top: 122, width: WIDTH - 124, height: 300 };

export const epsilon = defineExperiment<readonly Measured[]>({
  summary: "losses exact, rounded and noisy: which ε estimates a slope best (of mezo)",
  async measure({ seed, steps = DIRECTIONS, onProgress }) {
    const problem = exponential(seed);
    const measured: Measured[] = [];
    for (const disturbance of disturbances) {
      measured.push(await measure(problem, seed, disturbance, steps));
      onProgress?.(measured.length, disturbances.length);
    }
    return measured;
  },
  rows: (measured) => measured.flatMap(({ pen: { name }, errors }) => errors.map((one) => ({ losses: name, ...one }))),
  draw: (measured, { seed }) =>
    page(
      {
        ...{ width: WIDTH, height: FRAME.top + FRAME.height + 56, left: 32, style },
        title: "The best ε",
        subtitle: `mean of e^(−xᵢ) + xᵢ in 64 variables, seed ${seed}; noise costs ∝ 1/ε, bias ∝ ε² (one-sided: ε)`,
      },
      [
        ...legend(
          measured.map(({ pen }) => pen),
          FRAME.left,
          92,
          FRAME.width,
        ),
        ...plot(
          FRAME,
          {
            x: { scale: "log", domain: [7e-7, 1.5], label: "perturbation radius ε (discs: the best)" },
            y: {
              ...{ scale: "log", domain: [3e-6, 1e3] },
              label: "relative error of the projected gradient",
            },
          },
          (x, y) =>
            measured.flatMap((one) => {
              const best = bestOf(one);
              const points = one.errors.map(({ epsilon, error }): Dot => [epsilon, error]);
              return [curve(one.pen, points, x, y), disc(one.pen, [x(best.epsilon), y(best.error)], 4)];
            }),
        ),
      ],
    ),
});
