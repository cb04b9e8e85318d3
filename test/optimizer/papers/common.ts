import { perturbations } from "../../../src/perturbation/perturbations.js";
import { type Key, tensorId, tensorKey } from "../../../src/random/key.js";
import { type Distribution, fillNoise } from "../../../src/random/noise.js";
import { type At, type Part, type Setup, sizeOf } from "../harness.js";

/*
 * What papers' algorithms have in common, in float64 and plain arrays: nothing here is shared with the library but how keys become noise.
 */

export type Vector = readonly number[];

/** A way to change a hyperparameter that shows in the steps. */
export interface Variation {
  readonly change: Readonly<Record<string, number>>;
  /** What it is changed from, where that is not the defaults. */
  readonly from?: Readonly<Record<string, number>>;
  /** Only seen where there are blocks. */
  readonly model?: boolean;
}

export interface Paper {
  /** The weights after each step. */
  readonly run: (setup: Setup) => Vector[];
  /** Numbers that it keeps of a matrix of m × n between steps, with its defaults; of a vector, n is 1. */
  readonly states: (m: number, n: number) => number;
  /** Its own hyperparameters. */
  readonly vary: Readonly<Record<string, Variation>>;
  /** Common hyperparameters that it cannot have. */
  readonly refuses?: readonly string[];
  /** Estimates k times as large make the same steps. */
  readonly scaleFree?: boolean;
  /** Where it starts from on the test problems. */
  readonly learningRate?: number;
}

export const mean = (values: Vector): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The parts with where each begins among all elements. */
export const placed = (setup: Setup): readonly (Part & { readonly at: number; readonly size: number })[] => {
  let at = 0;
  return setup.problem.parts.map((part) => {
    const size = sizeOf(part);
    at += size;
    return { ...part, size, at: at - size };
  });
};

/** The learning rate of a step: (k + 1)/W of the peak in step k of a warm-up of W, then constant, on a line or on half a cosine to 0. */
const rateOf = ({ schedule, warmup, learningRate, steps }: Setup, step: number): number => {
  if (step < warmup) return (learningRate * (step + 1)) / warmup;
  const left = 1 - (step - warmup) / (steps - warmup);
  return learningRate * { constant: 1, linear: left, cosine: (1 - Math.cos(Math.PI * left)) / 2 }[schedule];
};

export const keyOf = ({ seed }: Setup, step: number, query: number): Key => ({
  ...{ seed: BigInt(seed), stream: "noise", step, query },
});
export const draw = (distribution: Distribution, key: Key, name: string, size: number): number[] => {
  const out = new Float32Array(size);
  fillNoise(distribution, tensorKey(key, tensorId(name)), 0, out);
  return Array.from(out);
};

/** Which elements move under a key, by their number. */
export type Moves = (key: Key, element: number) => boolean;

/** z of a query, end to end over the parts; on the sphere, of the length √d of those that move. */
export const noiseOf = (setup: Setup, step: number, query: number, moves: Moves = () => true): number[] => {
  const key = keyOf(setup, step, query);
  const { distribution, onSphere } = perturbations[setup.perturbation];
  const z = placed(setup)
    .flatMap(({ name, size }) => draw(distribution, key, name, size))
    .map((value, i) => (moves(key, i) ? value : 0));
  const moved = z.filter((value) => value !== 0);
  const radius = Math.sqrt(moved.length / moved.reduce((sum, value) => sum + value ** 2, 0));
  return onSphere ? z.map((value) => radius * value) : z;
};

export const plus = (x: Vector, scale: number, z: Vector): number[] => x.map((value, i) => value + scale * z[i]!);

/** A direction and the projected gradient along it. */
export interface Slope {
  readonly z: Vector;
  readonly s: number;
}

/** Held between −clip and clip, where the run has one. */
export const clipped = ({ hyperparameters: { clip = 0 } }: Setup, s: number): number =>
  clip === 0 ? s : Math.min(clip, Math.max(-clip, s));

export const queriesOf = <T>(count: number, of: (query: number) => T): T[] =>
  Array.from({ length: count }, (_, query) => of(query));

/** s = (L(θ + εz) − L(θ − εz)) / 2ε for each query, along `shape` of its noise where that is not z itself. */
export const slopes = (
  setup: Setup,
  x: Vector,
  step: number,
  options: {
    readonly shape?: (z: Vector) => Vector;
    readonly moves?: Moves;
    readonly queries?: number;
    readonly rows?: At["rows"];
  } = {},
): Slope[] => {
  const { shape = (z) => z, moves, queries = setup.queries, rows = "batch" } = options;
  const { epsilon, problem } = setup;
  return queriesOf(queries, (query) => {
    const z = noiseOf(setup, step, query, moves);
    const side = (sign: number) => problem.loss(plus(x, sign * epsilon, shape(z)), { step, rows });
    return { z, s: clipped(setup, (side(1) - side(-1)) / (2 * epsilon)) };
  });
};

/** g = (1/q) Σ s·z. */
export const estimateOf = (terms: readonly Slope[]): number[] =>
  terms[0]!.z.map((_, i) => mean(terms.map(({ s, z }) => s * z[i]!)));

/** buf ← μ·buf + (1 − dampening)·g, which a rule then reads in g's place; g itself without momentum. */
export const buffering = ({ hyperparameters }: Setup, preset: { momentum?: number; dampening?: number } = {}) => {
  const { momentum = 0, dampening = 0 } = { ...preset, ...hyperparameters };
  let buffer: Vector | undefined;
  return (g: Vector): Vector => {
    if (momentum === 0) return g;
    buffer = g.map((value, i) => momentum * (buffer?.[i] ?? 0) + (1 - dampening) * value);
    return buffer;
  };
};

/** θ ← (1 − ηλ)·θ − η·step, with no decay of one-dimensional tensors. */
export const descended = (setup: Setup, x: Vector, rate: number, step: Vector): Vector => {
  const { weightDecay = 0 } = setup.hyperparameters;
  const decays = placed(setup).flatMap(({ shape, size }) => Array.from({ length: size }, () => shape.length > 1));
  return x.map((value, i) => (decays[i] ? (1 - rate * weightDecay) * value : value) - rate * step[i]!);
};

/** Runs an algorithm: its next weights from the ones before. */
export const running = (setup: Setup, next: (x: Vector, step: number, rate: number) => Vector): Vector[] => {
  let x: Vector = setup.problem.start.map(Math.fround);
  return Array.from({ length: setup.steps }, (_, step) => {
    x = next(x, step, rateOf(setup, step));
    return x;
  });
};

/** θ ← (1 − ηλ)·θ − η·buf(g), g an estimate of any kind. */
export const sgd =
  (estimate: (setup: Setup, x: Vector, step: number) => Vector, preset?: Parameters<typeof buffering>[1]) =>
  (setup: Setup): Vector[] => {
    const buffered = buffering(setup, preset);
    return running(setup, (x, step, rate) => descended(setup, x, rate, buffered(estimate(setup, x, step))));
  };

export const twoSidedEstimate = (setup: Setup, x: Vector, step: number): Vector => estimateOf(slopes(setup, x, step));
export const nothing = () => 0;
