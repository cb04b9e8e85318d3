import { perturbations } from "../../../src/perturbation/perturbations.js";
import { tensorId, tensorKey } from "../../../src/random/key.js";
import { fillNoise } from "../../../src/random/noise.js";
import { permutation } from "../../../src/random/shuffle.js";
import type { Setup } from "../harness.js";
import {
  clipped,
  draw,
  estimateOf,
  keyOf,
  nothing,
  type Paper,
  placed,
  plus,
  queriesOf,
  running,
  sgd,
  slopes,
  type Vector,
} from "./common.js";

/** arXiv 2402.15751: m = 1 where |W| ≤ τ, τ the (1 − sparsity)-quantile of each tensor before training; the mask follows the weights. */
export const sparseMezo: Paper = {
  run(setup) {
    const { sparsity = 0.75 } = setup.hyperparameters;
    const thresholds = placed(setup).flatMap(({ at, size }) => {
      const magnitudes = setup.problem.start
        .slice(at, at + size)
        .map((value) => Math.abs(Math.fround(value)))
        .sort((a, b) => a - b);
      const kept = Math.max(1, Math.ceil((1 - sparsity) * size));
      return magnitudes.map(() => (sparsity === 0 ? Number.POSITIVE_INFINITY : magnitudes[kept - 1]!));
    });
    return sgd((_, x, step) =>
      estimateOf(slopes(setup, x, step, { moves: (__, i) => Math.abs(x[i]!) <= thresholds[i]! })),
    )(setup);
  },
  states: nothing,
  vary: { sparsity: { change: { sparsity: 0.4 } } },
};

/** arXiv 2410.09823: ⌊ρℓ⌋ blocks at rest under each key; what is in no block always moves. */
export const lezo: Paper = {
  run(setup) {
    const { drop = 0.75 } = setup.hyperparameters;
    const parts = placed(setup);
    const layers = [...new Set(parts.flatMap(({ layer }) => layer ?? []))];
    const layerOf = parts.flatMap(({ size, layer }) => Array.from({ length: size }, () => layer));
    const moves = (key: ReturnType<typeof keyOf>, i: number) => {
      const order = permutation(layers.length, { ...key, stream: "layers" });
      const resting = [...order.subarray(0, Math.floor(drop * layers.length))];
      const layer = layerOf[i];
      return layer === undefined || !resting.includes(layers.indexOf(layer));
    };
    return sgd((_, x, step) => estimateOf(slopes(setup, x, step, { moves })))(setup);
  },
  states: nothing,
  vary: { drop: { change: { drop: 0.25 }, model: true } },
};

/** Rows of numbers. */
type Matrix = readonly Vector[];
const matrix = (values: Vector, columns: number): Matrix =>
  Array.from({ length: values.length / columns }, (_, row) => values.slice(row * columns, (row + 1) * columns));
const transpose = (a: Matrix): Matrix => a[0]!.map((_, j) => a.map((row) => row[j]!));
const multiply = (...[first, ...others]: readonly Matrix[]): Matrix =>
  others.reduce(
    (a, b) => a.map((row) => b[0]!.map((_, j) => row.reduce((sum, value, k) => sum + value * b[k]![j]!, 0))),
    first!,
  );
const scaled = (a: Matrix, by: number): Matrix => a.map((row) => row.map((value) => by * value));
const sum = (a: Matrix, b: Matrix): Matrix => a.map((row, i) => row.map((value, j) => value + b[i]![j]!));

/** Orthonormal columns that span the same, each on the side of its own: Q of a QR with a positive diagonal, by Householder reflections. */
const orthonormal = (a: Matrix): Matrix => {
  const [m, n] = [a.length, a[0]!.length];
  let r = a;
  let q: Matrix = a.map((_, i) => a.map((__, j) => (i === j ? 1 : 0)));
  for (let k = 0; k < n; k++) {
    const column = r.map((row, i) => (i < k ? 0 : row[k]!));
    const length = Math.hypot(...column);
    const v = column.map((value, i) => (i === k ? value + Math.sign(value) * length : value));
    const square = v.reduce((total, value) => total + value * value, 0);
    const reflect: Matrix = v.map((vi, i) => v.map((vj, j) => (i === j ? 1 : 0) - (2 * vi * vj) / square));
    r = multiply(reflect, r);
    q = multiply(q, reflect);
  }
  return Array.from({ length: m }, (_, i) => Array.from({ length: n }, (__, k) => q[i]![k]! * Math.sign(r[k]![k]!)));
};

const factorOf = ({ seed }: Setup, name: string, rows: number, rank: number, step: number, query: number): Matrix => {
  const out = new Float32Array(rows * rank);
  fillNoise("gaussian", tensorKey({ seed: BigInt(seed), stream: "factor", step, query }, tensorId(name)), 0, out);
  return matrix(Array.from(out), rank);
};

/** A tensor that moves by left·core·Vᵀ with a core of its own, or by plain noise. */
interface Moving {
  readonly at: number;
  readonly size: number;
  readonly name: string;
  /** Core, of one column for plain noise. */
  readonly core: readonly [rows: number, columns: number];
  /** The direction that a core of noise makes, [size]. */
  readonly direction: (core: Matrix) => Vector;
  /** What the estimate is divided by. */
  readonly divisor: number;
  /** A core of the factors before in those of a step. */
  readonly carried: (core: Matrix, step: number) => Matrix;
}

/** Runs an algorithm whose matrices move in subspaces that are drawn every ν steps. */
const inSubspaces =
  (
    tensors: (setup: Setup, drawnAt: number) => readonly Moving[],
    preset: { momentum?: number; dampening?: number },
  ): Paper["run"] =>
  (setup) => {
    const {
      momentum = 0,
      dampening = 0,
      refreshEvery,
    } = { ...preset, ...setup.hyperparameters } as Record<string, number>;
    const { epsilon, problem, queries, steps } = setup;
    let buffers: readonly Matrix[] | undefined;
    let now: readonly Moving[] = [];
    return running(setup, (x, step, rate) => {
      if (step % (refreshEvery ?? steps) === 0) {
        buffers = buffers?.map((buffer, t) => now[t]!.carried(buffer, step));
        now = tensors(setup, step);
      }
      const { distribution } = perturbations[setup.perturbation];
      const terms = queriesOf(queries, (query) => {
        const cores = now.map(({ name, core: [rows, columns] }) =>
          matrix(draw(distribution, keyOf(setup, step, query), name, rows * columns), columns),
        );
        const p = now.flatMap(({ direction }, t) => direction(cores[t]!));
        const side = (sign: number) => problem.loss(plus(x, sign * epsilon, p), { step, rows: "batch" });
        return { cores, s: clipped(setup, (side(1) - side(-1)) / (2 * epsilon)) };
      });
      buffers = now.map((_, t) => {
        const g = terms.map(({ cores, s }) => scaled(cores[t]!, s / queries)).reduce(sum);
        const before = buffers?.[t];
        if (momentum === 0) return g;
        return before === undefined
          ? scaled(g, 1 - dampening)
          : sum(scaled(before, momentum), scaled(g, 1 - dampening));
      });
      const move = now.flatMap(({ direction, divisor }, t) => direction(buffers![t]!).map((value) => value / divisor));
      return plus(x, -rate, move);
    });
  };

const plain = ({ at, size, name }: ReturnType<typeof placed>[number]): Moving => ({
  ...{ at, size, name, core: [size, 1], divisor: 1 },
  direction: (core) => core.flat(),
  carried: (core) => core,
});
const isMatrix = ({ shape }: { readonly shape: readonly number[] }) => shape.length === 2 && Math.min(...shape) > 1;

/** arXiv 2410.07698: perturb by ε·UVᵀ, W ← W − η·c·UVᵀ/r, V Gaussian and drawn every ν steps; momentum N ← N·V_oldᵀV_new/n at a refresh. */
const lozoTensors = (setup: Setup, drawnAt: number): readonly Moving[] =>
  placed(setup).map((part) => {
    if (!isMatrix(part)) return plain(part);
    const [m = 1, n = 1] = part.shape;
    const r = Math.min(setup.hyperparameters.rank ?? 2, m, n);
    const factor = (step: number) => factorOf(setup, `${part.name}#v`, n, r, step, 0);
    const v = factor(drawnAt);
    return {
      ...{ at: part.at, size: part.size, name: `${part.name}#core`, core: [m, r], divisor: r },
      direction: (core) => multiply(core, transpose(v)).flat(),
      carried: (core, step) => scaled(multiply(core, transpose(v), factor(step)), 1 / n),
    };
  });

/**
 * arXiv 2410.08989: P = √(mn)/r·U·Z·Vᵀ with orthonormal U and V drawn every T₀ steps; matrices far from square, as adapters' are, are taken as
 * nearly square ones first.
 */
const subzeroTensors = (setup: Setup, drawnAt: number): readonly Moving[] =>
  placed(setup).map((part) => {
    if (!isMatrix(part)) return plain(part);
    const divisors = Array.from({ length: part.size }, (_, i) => i + 1).filter((divisor) => part.size % divisor === 0);
    const m = Math.max(...divisors.filter((divisor) => divisor ** 2 <= part.size));
    const n = part.size / m;
    const r = Math.min(setup.hyperparameters.rank ?? 8, m, n);
    const factors = (step: number) => ({
      u: orthonormal(factorOf(setup, `${part.name}#u`, m, r, step, 1)),
      v: orthonormal(factorOf(setup, `${part.name}#v`, n, r, step, 0)),
    });
    const { u, v } = factors(drawnAt);
    return {
      ...{ at: part.at, size: part.size, name: `${part.name}#core`, core: [r, r], divisor: 1 },
      direction: (core) => scaled(multiply(u, core, transpose(v)), Math.sqrt(m * n) / r).flat(),
      carried(core, step) {
        const next = factors(step);
        return multiply(transpose(next.u), u, core, transpose(v), next.v);
      },
    };
  });

const lowRank = { rank: { change: { rank: 1 } }, refreshEvery: { change: { refreshEvery: 2 } } };
export const lozo: Paper = {
  run: inSubspaces(lozoTensors, {}),
  states: nothing,
  vary: lowRank,
  refuses: ["weightDecay"],
};
/** LOZO-M: β 0.9 with N ← βN + (1 − β)·c·U. */
export const lozoM: Paper = {
  run: inSubspaces(lozoTensors, { momentum: 0.9, dampening: 0.9 }),
  states: (m, n) => (Math.min(m, n) > 1 ? m * Math.min(2, m, n) : m),
  vary: lowRank,
  refuses: ["weightDecay"],
};
export const subzero: Paper = {
  run: inSubspaces(subzeroTensors, {}),
  states: nothing,
  vary: lowRank,
  refuses: ["weightDecay"],
};
