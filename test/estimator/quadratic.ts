import type { Estimator, Point, Step, Update } from "../../src/estimator/estimator.js";
import type { Key } from "../../src/random/key.js";
import { tensorId, tensorKey } from "../../src/random/key.js";
import { fillNoise } from "../../src/random/noise.js";

/** L(θ) = ½ θᵀAθ − bᵀθ in float64, the problem of the algorithm reference's test kit. */
export interface Quadratic {
  readonly a: readonly (readonly number[])[];
  readonly b: readonly number[];
}

export const dot = (x: readonly number[], y: readonly number[]): number =>
  x.reduce((sum, value, i) => sum + value * (y[i] ?? 0), 0);
export const times = ({ a }: Quadratic, x: readonly number[]): number[] => a.map((row) => dot(row, x));
export const lossOf = (q: Quadratic, x: readonly number[]): number => dot(x, times(q, x)) / 2 - dot(q.b, x);
export const gradientOf = (q: Quadratic, x: readonly number[]): number[] =>
  times(q, x).map((value, i) => value - (q.b[i] ?? 0));

/** A dense, symmetric, positive definite problem. */
export const dense = (d: number): Quadratic => ({
  a: Array.from({ length: d }, (_, i) =>
    Array.from({ length: d }, (_, j) => (i === j ? 2 + i / d : 1 / (1 + Math.abs(i - j) * 2))),
  ),
  b: Array.from({ length: d }, (_, i) => Math.sin(3 * i + 1)),
});
export const diagonal = (values: readonly number[]): Quadratic => ({
  a: values.map((value, i) => values.map((_, j) => (i === j ? value : 0))),
  b: values.map(() => 0),
});

const TENSOR = tensorId("theta");

export const noiseOf = (distribution: "gaussian" | "rademacher", key: Key, d: number): number[] => {
  const out = new Float32Array(d);
  fillNoise(distribution, tensorKey(key, TENSOR), 0, out);
  return Array.from(out);
};

const at = (x: readonly number[], point: Point, direction: (key: Key) => readonly number[]): number[] =>
  point.reduce<number[]>(
    (sum, { key, scale }) => {
      const z = direction(key);
      return sum.map((value, i) => value + scale * (z[i] ?? 0));
    },
    [...x],
  );

/** Drives an estimator's generator on a plain function in float64 and returns its updates. */
export const drive = (
  estimator: Estimator,
  step: Omit<Step, "key"> & { readonly seed: bigint; readonly step: number },
  loss: (x: readonly number[]) => number,
  x: readonly number[],
  direction: (key: Key) => readonly number[],
): { readonly updates: readonly Update[]; readonly evaluations: number } => {
  const context: Step = { ...step, key: (query) => ({ seed: step.seed, stream: "noise", step: step.step, query }) };
  const generator = estimator.step(context);
  const updates: Update[] = [];
  let evaluations = 0;
  let request = generator.next();
  while (!request.done) {
    if (request.value.kind === "evaluate") {
      evaluations += request.value.points.length;
      request = generator.next(request.value.points.map((point) => loss(at(x, point, direction))));
    } else {
      updates.push(request.value.update);
      request = generator.next([]);
    }
  }
  return { updates, evaluations };
};

/** g = Σ scale·z of an update, in float64. */
export const estimateOf = (update: Update, direction: (key: Key) => readonly number[], d: number): number[] =>
  at(
    Array.from({ length: d }, () => 0),
    update.gradient,
    direction,
  );
