import type { Estimator, Point, Request, Step, Update } from "../../src/estimator/estimator.js";
import type { Key } from "../../src/random/key.js";
import { tensorId, tensorKey } from "../../src/random/key.js";
import { type Distribution, fillNoise } from "../../src/random/noise.js";

/** L(θ) = ½ θᵀAθ − bᵀθ in float64, the problem of the algorithm reference's test kit. */
export interface Quadratic {
  readonly a: readonly (readonly number[])[];
  readonly b: readonly number[];
}

export const dot = (x: ArrayLike<number>, y: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!;
  return sum;
};
export const times = ({ a }: Quadratic, x: ArrayLike<number>): number[] => a.map((row) => dot(row, x));
export const lossOf = ({ a, b }: Quadratic, x: ArrayLike<number>): number => {
  let loss = 0;
  for (let i = 0; i < x.length; i++) loss += x[i]! * (dot(a[i]!, x) / 2 - b[i]!);
  return loss;
};
export const gradientOf = (q: Quadratic, x: ArrayLike<number>): number[] =>
  times(q, x).map((value, i) => value - q.b[i]!);

/** Where Ax = b: Gaussian elimination, A being positive definite. */
export const minimumOf = ({ a, b }: Quadratic): number[] => {
  const rows = a.map((row, i) => [...row, b[i]!]);
  for (const [k, pivot] of rows.entries())
    for (const row of rows.slice(k + 1)) {
      const factor = row[k]! / pivot[k]!;
      for (let j = k; j < row.length; j++) row[j]! -= factor * pivot[j]!;
    }
  const x = b.map(() => 0);
  for (let k = x.length - 1; k >= 0; k--) {
    const known = x.reduce((sum, value, j) => (j > k ? sum + rows[k]![j]! * value : sum), 0);
    x[k] = (rows[k]!.at(-1)! - known) / rows[k]![k]!;
  }
  return x;
};

/** A dense, symmetric, positive definite problem. */
export const dense = (d: number): Quadratic => ({
  a: Array.from({ length: d }, (_, i) =>
    Array.from({ length: d }, (_, j) => (i === j ? 2 + i / d : 1 / (1 + Math.abs(i - j) * 2))),
  ),
  b: Array.from({ length: d }, (_, i) => Math.sin(3 * i + 1)),
});
export const diagonal = (values: readonly number[], b = values.map(() => 0)): Quadratic => ({
  a: values.map((value, i) => values.map((_, j) => (i === j ? value : 0))),
  b,
});

const TENSOR = tensorId("theta");

export const noiseOf = (distribution: Distribution, key: Key, d: number): number[] => {
  const out = new Float32Array(d);
  fillNoise(distribution, tensorKey(key, TENSOR), 0, out);
  return Array.from(out);
};

/** x plus a point's terms. */
export const at = (x: ArrayLike<number>, point: Point, direction: (key: Key) => ArrayLike<number>): number[] => {
  const moved = Array.from(x);
  for (const { key, scale } of point) {
    const z = direction(key);
    for (let i = 0; i < moved.length; i++) moved[i]! += scale * z[i]!;
  }
  return moved;
};

/** What a step of an estimator was, driven on a function. */
export interface Driven<M> {
  readonly updates: readonly Update[];
  /** Every point, in order, with the rows that its loss was asked on. */
  readonly points: readonly { readonly point: Point; readonly rows: "batch" | "anchor" }[];
  readonly memory: M;
}

/** Drives a step of an estimator on a plain function in float64; θ stays where it is, so updates answer their coefficients alone. */
export const drive = <M>(
  estimator: Estimator<M>,
  step: Partial<Step<M>> & Pick<Step, "epsilon" | "queries">,
  loss: (x: readonly number[], rows: "batch" | "anchor") => number,
  x: ArrayLike<number>,
  direction: (key: Key) => ArrayLike<number>,
): Driven<M> => {
  const context: Step<M> = {
    ...{ step: 0, epoch: 0, learningRate: 1, blocks: 1, memory: estimator.initial },
    key: (query) => ({ seed: 7n, stream: "noise", step: step.step ?? 0, query }),
    bounded: (value) => value,
    ...step,
  };
  const generator = estimator.step(context);
  const updates: Update[] = [];
  const points: { point: Point; rows: "batch" | "anchor" }[] = [];
  const answers = {
    evaluate: ({ points: asked, rows = "batch" }: Extract<Request, { kind: "evaluate" }>) => {
      points.push(...asked.map((point) => ({ point, rows })));
      return asked.map((point) => loss(at(x, point, direction), rows));
    },
    fix: ({ numbers }: Extract<Request, { kind: "fix" }>) => numbers,
    update: ({ update }: Extract<Request, { kind: "update" }>) => {
      updates.push(update);
      return [...update.gradient, ...update.curvature].map(({ scale }) => scale);
    },
  };
  let request = generator.next();
  while (!request.done) request = generator.next(answers[request.value.kind](request.value as never));
  return { updates, points, memory: request.value };
};

/** g = Σ scale·z of an update, in float64. */
export const estimateOf = (update: Update, direction: (key: Key) => ArrayLike<number>, d: number): number[] =>
  at(new Float64Array(d), update.gradient, direction);
