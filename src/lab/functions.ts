import { orthonormalise } from "../engine/cores.js";
import { permutation } from "../random/shuffle.js";
import { normals } from "./normal.js";

/** A function that everything is known about. */
export interface Known {
  readonly name: string;
  readonly formula: string;
  /** The variables as a matrix, or a vector. */
  readonly shape: readonly number[];
  readonly start: Float32Array;
  value(x: ArrayLike<number>): number;
  /** A subgradient where it has no gradient. */
  gradient(x: ArrayLike<number>): readonly number[];
}

/** A function to make small. */
export interface Problem extends Known {
  readonly minimum: readonly number[];
  /** Its value there. */
  readonly least: number;
}

/** A problem of two variables, with the part of the plane that a picture shows. */
export interface Landscape extends Problem {
  readonly view: { readonly x: readonly [number, number]; readonly y: readonly [number, number] };
  /** Excess losses that contour lines are drawn at. */
  readonly levels: readonly number[];
}

const plane = (
  { start, ...rest }: Omit<Landscape, "value" | "gradient" | "shape" | "start"> & { start: readonly [number, number] },
  value: (x: number, y: number) => number,
  gradient: (x: number, y: number) => readonly [number, number],
): Landscape => ({
  ...rest,
  shape: [2],
  start: Float32Array.from(start),
  value: ({ 0: x = 0, 1: y = 0 }) => value(x, y),
  gradient: ({ 0: x = 0, 1: y = 0 }) => gradient(x, y),
});

/** Two variables each, in the manner of HiZOO's trajectories (arXiv 2402.15173). */
export const landscapes: readonly Landscape[] = [
  plane(
    {
      name: "valley",
      formula: "8(x − 1)²(1.3x² + 2x + 1) + ½(y − 4)²",
      start: [0.25, 0.5],
      minimum: [1, 4],
      least: 0,
      view: { x: [-0.35, 1.75], y: [-1, 5.25] },
      levels: [0.1, 0.5, 1.5, 3, 5, 7, 9, 12, 20, 40],
    },
    (x, y) => 8 * (x - 1) ** 2 * (1.3 * x * x + 2 * x + 1) + 0.5 * (y - 4) ** 2,
    (x, y) => [8 * (x - 1) * x * (5.2 * x + 3.4), y - 4],
  ),
  plane(
    {
      name: "corner",
      formula: "|x| + |y|",
      start: [1.6, 1.1],
      minimum: [0, 0],
      least: 0,
      view: { x: [-0.75, 2], y: [-0.75, 2] },
      levels: [0.1, 0.4, 0.8, 1.2, 1.6, 2, 2.4, 2.8, 3.2, 3.6],
    },
    (x, y) => Math.abs(x) + Math.abs(y),
    (x, y) => [Math.sign(x), Math.sign(y)],
  ),
  plane(
    {
      name: "ravine",
      formula: "10,000x² + y²",
      start: [0.3, 1.6],
      minimum: [0, 0],
      least: 0,
      view: { x: [-0.3, 0.4], y: [-1.5, 2.5] },
      levels: [0.2, 1, 2, 4, 10, 50, 150, 300, 600, 1000],
    },
    (x, y) => 10_000 * x * x + y * y,
    (x, y) => [20_000 * x, 2 * y],
  ),
];

/** Rows and columns of the variables of a quadratic. */
const SIDE = 8;

/** Columns of a random rotation of `size` dimensions: column k is [k], [k + size], … */
const rotation = (seed: number, size: number): Float64Array => {
  const matrix = Float64Array.from(normals(seed, "rotation", size * size));
  orthonormalise(matrix, size);
  return matrix;
};

/**
 * ½ Σ λᵢxᵢ² in 64 variables, λ from 1 to `condition` in even steps of log λ, in an order that the seed shuffles. It starts where every
 * variable has about the same share of the loss: xᵢ is normal, of variance 1/λᵢ.
 *
 * @param rotated the same in coordinates turned at random, so that no diagonal knows its curvature
 */
export const quadratic = (condition: number, seed: number, { rotated = false } = {}): Problem => {
  const size = SIDE * SIDE;
  const order = permutation(size, { seed: BigInt(seed), stream: "init", step: 0, query: 0 });
  const curvature = Array.from(order, (place) => condition ** (place / (size - 1)));
  const turn = rotated ? rotation(seed, size) : undefined;
  /** Coordinates along the axes of curvature, and back. */
  const inward = (x: ArrayLike<number>): ArrayLike<number> => {
    if (turn === undefined) return x;
    const out = new Float64Array(size);
    for (let i = 0; i < size; i++) {
      const value = x[i] ?? 0;
      for (let k = 0; k < size; k++) out[k] = (out[k] ?? 0) + value * (turn[i * size + k] ?? 0);
    }
    return out;
  };
  const outward = (x: readonly number[]): readonly number[] =>
    turn === undefined ? x : x.map((_, i) => x.reduce((sum, value, k) => sum + value * (turn[i * size + k] ?? 0), 0));
  const along = Array.from(normals(seed, "start", size), (value, k) => value / Math.sqrt(curvature[k] ?? 1));
  return {
    name: `${rotated ? "rotated " : ""}quadratic of condition ${condition.toLocaleString("en")}`,
    formula: rotated ? "½ xᵀQᵀΛQx" : "½ Σ λᵢxᵢ²",
    shape: [SIDE, SIDE],
    start: Float32Array.from(outward(along)),
    minimum: Array<number>(size).fill(0),
    least: 0,
    value(x) {
      const y = inward(x);
      let sum = 0;
      for (let k = 0; k < size; k++) sum += (curvature[k] ?? 0) * (y[k] ?? 0) ** 2;
      return sum / 2;
    },
    gradient(x) {
      const y = inward(x);
      return outward(curvature.map((lambda, k) => lambda * (y[k] ?? 0)));
    },
  };
};

/** Mean of e^(−xᵢ) + xᵢ in 64 variables: about the size of a language model's loss, and its third derivatives are not 0. */
export const exponential = (seed: number): Problem => {
  const size = SIDE * SIDE;
  return {
    name: "exponential",
    formula: "mean of e^(−xᵢ) + xᵢ",
    shape: [SIDE, SIDE],
    start: normals(seed, "start", size),
    minimum: Array<number>(size).fill(0),
    least: 1,
    value(x) {
      let sum = 0;
      for (let i = 0; i < size; i++) sum += Math.exp(-(x[i] ?? 0)) + (x[i] ?? 0);
      return sum / size;
    },
    gradient: (x) => Array.from(x, (value) => (1 - Math.exp(-value)) / size),
  };
};

/** cᵀx in 16 variables, a matrix of 4 × 4: an estimate of its gradient has no bias at all, only variance. */
export const linear = (seed: number): Known => {
  const size = 16;
  const slope = Array.from(normals(seed, "slope", size));
  return {
    name: "linear",
    formula: "cᵀx",
    shape: [4, 4],
    start: new Float32Array(size),
    value: (x) => slope.reduce((sum, value, i) => sum + value * (x[i] ?? 0), 0),
    gradient: () => slope,
  };
};
