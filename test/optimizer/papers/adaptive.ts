import { tensorId } from "../../../src/random/key.js";
import { permutation } from "../../../src/random/shuffle.js";
import type { Setup } from "../harness.js";
import {
  buffering,
  descended,
  estimateOf,
  mean,
  noiseOf,
  type Paper,
  placed,
  plus,
  queriesOf,
  running,
  slopes,
  twoSidedEstimate,
  type Vector,
} from "./common.js";
import { oneSidedSlopes } from "./plain.js";

const filled = (setup: Setup, value: number): Vector => setup.problem.start.map(() => value);
const each = (m: number, n: number): number => m * n;

/** Adam (arXiv 1412.6980) on the estimate, as arXiv 2402.11592 has it: β 0.9 and 0.999, ϵ 10⁻⁸. */
export const zoAdam: Paper = {
  run(setup) {
    const { beta1 = 0.9, beta2 = 0.999, stability = 1e-8 } = setup.hyperparameters;
    const buffered = buffering(setup);
    let [m, v] = [filled(setup, 0), filled(setup, 0)];
    return running(setup, (x, step, rate) => {
      const g = buffered(twoSidedEstimate(setup, x, step));
      m = m.map((value, i) => beta1 * value + (1 - beta1) * g[i]!);
      v = v.map((value, i) => beta2 * value + (1 - beta2) * g[i]! ** 2);
      const [first, second] = [1 - beta1 ** (step + 1), 1 - beta2 ** (step + 1)];
      return descended(
        setup,
        x,
        rate,
        m.map((value, i) => value / first / (Math.sqrt(v[i]! / second) + stability)),
      );
    });
  },
  states: (m, n) => 2 * m * n,
  vary: {
    beta1: { change: { beta1: 0.5 } },
    beta2: { change: { beta2: 0.5 } },
    stability: { change: { stability: 1 } },
  },
  scaleFree: true,
};

/** The three points of HiZOO along H^(−½)u: s and Δ/2ε². */
const threePoints = (setup: Setup, x: Vector, step: number, h: Vector) => {
  const { epsilon, problem } = setup;
  const terms = slopes(setup, x, step, { shape: (u) => u.map((value, i) => value / Math.sqrt(h[i]!)) });
  const at = { step, rows: "batch" } as const;
  const base = problem.loss(x, at);
  const seconds = queriesOf(setup.queries, (query) => {
    const shaped = noiseOf(setup, step, query).map((value, i) => value / Math.sqrt(h[i]!));
    const delta = problem.loss(plus(x, epsilon, shaped), at) + problem.loss(plus(x, -epsilon, shaped), at) - 2 * base;
    return (setup.hyperparameters.reference === 1 ? Math.abs(delta) : delta) / (2 * epsilon ** 2);
  });
  return { g: estimateOf(terms), terms, seconds };
};

/** The diagonal of Δ/2ε²·(H^½uuᵀH^½ − H), or without the −H as released. */
const hessianOf = (setup: Setup, h: Vector, { terms, seconds }: ReturnType<typeof threePoints>): Vector => {
  const minus = setup.hyperparameters.reference === 1 ? 0 : 1;
  return h.map((value, i) => mean(terms.map(({ z }, query) => seconds[query]! * value * (z[i]! ** 2 - minus))));
};

/**
 * arXiv 2402.15173, with H for its Σ⁻¹: H ← (1 − α)·H + α·diag(Ĥ), above 10⁻⁸, and θ ← θ − η·s·H^(−½)u with the new H.
 */
export const hizoo: Paper = {
  run(setup) {
    const { smoothing = 1e-8 } = setup.hyperparameters;
    const buffered = buffering(setup);
    let h = filled(setup, 1);
    return running(setup, (x, step, rate) => {
      const points = threePoints(setup, x, step, h);
      const hessian = hessianOf(setup, h, points);
      h = h.map((value, i) => Math.max((1 - smoothing) * value + smoothing * hessian[i]!, 1e-8));
      const g = buffered(points.g);
      return descended(
        setup,
        x,
        rate,
        g.map((value, i) => value / Math.sqrt(h[i]!)),
      );
    });
  },
  states: each,
  vary: {
    smoothing: { change: { smoothing: 0.01 } },
    reference: { change: { smoothing: 0.01, reference: 1 }, from: { smoothing: 0.01 } },
  },
};

/** Rows and columns of the parts: a vector is a column. */
const matrices = (setup: Setup) =>
  placed(setup).map((part) => {
    const [rows = 1, columns = 1] = part.shape;
    return { ...part, rows, columns };
  });

/** HiZOO-L: running means of the estimate over rows and over columns, and H = r·cᵀ / mean as in Adafactor. */
export const hizooL: Paper = {
  run(setup) {
    const { smoothing = 1e-8 } = setup.hyperparameters;
    const buffered = buffering(setup);
    const tensors = matrices(setup);
    let factors = tensors.map(({ rows, columns }) => ({
      row: Array.from({ length: rows }, () => 1),
      column: Array.from({ length: columns }, () => 1),
      all: 1,
    }));
    const product = (): Vector =>
      tensors.flatMap(({ size, columns }, t) => {
        const { row, column, all } = factors[t]!;
        return Array.from({ length: size }, (_, i) => (row[Math.floor(i / columns)]! * column[i % columns]!) / all);
      });
    return running(setup, (x, step, rate) => {
      const old = product();
      const points = threePoints(setup, x, step, old);
      const hessian = hessianOf(setup, old, points);
      const smoothed = (before: number, fresh: Vector) =>
        Math.max((1 - smoothing) * before + smoothing * mean(fresh), 1e-8);
      factors = factors.map(({ row, column, all }, t) => {
        const { at, size, columns } = tensors[t]!;
        const own = hessian.slice(at, at + size);
        return {
          row: row.map((value, r) => smoothed(value, own.slice(r * columns, (r + 1) * columns))),
          column: column.map((value, c) =>
            smoothed(
              value,
              own.filter((_, i) => i % columns === c),
            ),
          ),
          all: smoothed(all, own),
        };
      });
      const h = product();
      const g = buffered(points.g);
      return descended(
        setup,
        x,
        rate,
        g.map((value, i) => value / Math.sqrt(h[i]!)),
      );
    });
  },
  states: (m, n) => m + n + 1,
  vary: {
    smoothing: { change: { smoothing: 0.02 } },
    reference: { change: { smoothing: 0.02, reference: 1 }, from: { smoothing: 0.02 } },
  },
};

/**
 * arXiv 2411.10696: m ← β₁m + α_t·g with α_t = β₁ + (1 − β₁)·e^(−t/T); every k steps h ← β₂h + (1 − β₂)·B·g²; θ ← θ − η·m / (γ·max(h, λ_ℓ) + ϵ). Steps
 * have 16 rows; λ_ℓ runs on a line from the first block's to the last's.
 */
export const helene: Paper = {
  run(setup) {
    const {
      beta1 = 0.9,
      beta2 = 0.99,
      period = 10,
      gamma = 1,
      floor = 1,
      floorRatio = 1,
      stability = 1e-8,
    } = setup.hyperparameters;
    const buffered = buffering(setup);
    const parts = placed(setup);
    const last = Math.max(...parts.map(({ layer = 0 }) => layer));
    const floors = parts.flatMap(({ size, layer = 0 }) =>
      Array.from({ length: size }, () => floor + (last === 0 ? 0 : (floor * (floorRatio - 1) * layer) / last)),
    );
    let [m, h] = [filled(setup, 0), filled(setup, 0)];
    return running(setup, (x, step, rate) => {
      const g = buffered(twoSidedEstimate(setup, x, step));
      const anneal = beta1 + (1 - beta1) * Math.exp(-step / setup.steps);
      m = m.map((value, i) => beta1 * value + anneal * g[i]!);
      if (step % period === 0) h = h.map((value, i) => beta2 * value + (1 - beta2) * 16 * g[i]! ** 2);
      return descended(
        setup,
        x,
        rate,
        m.map((value, i) => value / (gamma * Math.max(h[i]!, floors[i]!) + stability)),
      );
    });
  },
  states: (m, n) => 2 * m * n,
  vary: {
    beta1: { change: { beta1: 0.5 } },
    beta2: { change: { beta2: 0.5 } },
    period: { change: { period: 1 } },
    gamma: { change: { gamma: 2 } },
    floor: { change: { floor: 0.5 } },
    floorRatio: { change: { floorRatio: 3 }, model: true },
    stability: { change: { stability: 1 } },
  },
};

/** DeComFL's program, "Adam-forward": forward differences along z/√K, ĝ = s·z/√K, K ← βK + (1 − β)·ĝ², θ ← θ − η·ĝ. */
export const adamForward: Paper = {
  run(setup) {
    const { beta = 0.95 } = setup.hyperparameters;
    const buffered = buffering(setup);
    let k = filled(setup, 1);
    return running(setup, (x, step, rate) => {
      const shape = (z: Vector) => z.map((value, i) => value / Math.sqrt(k[i]!));
      const estimate = shape(buffered(estimateOf(oneSidedSlopes(setup, x, step, shape))));
      k = k.map((value, i) => beta * value + (1 - beta) * estimate[i]! ** 2);
      return descended(setup, x, rate, estimate);
    });
  },
  states: each,
  vary: { beta: { change: { beta: 0.5 } } },
};

/** The subset of each element: a line of the longer side; `subset` neighbours; or ⌊√(mn)/−subset⌋, lowered to a divisor of mn. */
const subsetsOf = (setup: Setup, subset: number): readonly number[] => {
  let offset = 0;
  return matrices(setup).flatMap(({ rows, columns, size }) => {
    const wanted = subset > 0 ? subset : Math.floor(Math.sqrt(size) / -subset);
    const divisors = Array.from({ length: size }, (_, i) => i + 1).filter((divisor) => size % divisor === 0);
    const neighbours = Math.max(...divisors.filter((divisor) => divisor <= Math.max(1, wanted)));
    const own = Array.from({ length: size }, (_, i) => {
      if (subset !== 0) return Math.floor(i / neighbours);
      return rows >= columns ? Math.floor(i / columns) : i % columns;
    });
    offset += size;
    return own.map((index) => offset - size + index);
  });
};

/** v_j ← β₂v_j + (1 − β₂) Σ g², of each subset, corrected as Adam's; β₂ = 1 is AdaGrad: a plain sum. */
const secondMoments = (setup: Setup) => {
  const { beta2 = 0.999, subset = 0, stability = 1e-6 } = setup.hyperparameters;
  const subsets = subsetsOf(setup, subset);
  const v = new Map<number, number>();
  return (g: Vector, step: number): Vector => {
    for (const index of new Set(subsets)) {
      const sum = g.reduce((total, value, i) => (subsets[i] === index ? total + value ** 2 : total), 0);
      v.set(index, beta2 * (v.get(index) ?? 0) + (beta2 === 1 ? 1 : 1 - beta2) * sum);
    }
    const correction = beta2 === 1 ? 1 : 1 - beta2 ** (step + 1);
    return subsets.map((index) => Math.sqrt(v.get(index)! / correction) + stability);
  };
};

/** m ← β₁m + (1 − β₁)·g on chosen lines of the shorter side, corrected by the steps since the choice; g elsewhere. */
const lineMomentum = (setup: Setup) => {
  const { beta1 = 0.9, rank = 128, chooseEvery = 200 } = setup.hyperparameters;
  let m = filled(setup, 0);
  let chosen: readonly boolean[] = [];
  return (g: Vector, step: number): Vector => {
    if (step % chooseEvery === 0) {
      m = filled(setup, 0);
      chosen = matrices(setup).flatMap(({ name, rows, columns, size }) => {
        const lines = Math.min(rows, columns);
        const seed = BigInt.asUintN(64, BigInt(setup.seed) ^ tensorId(name));
        const order = permutation(lines, { seed, stream: "factor", step, query: 0 });
        const own = new Set(order.subarray(0, rank));
        return Array.from({ length: size }, (_, i) => own.has(rows <= columns ? Math.floor(i / columns) : i % columns));
      });
    }
    m = m.map((value, i) => (chosen[i] ? beta1 * value + (1 - beta1) * g[i]! : 0));
    const correction = 1 - beta1 ** ((step % chooseEvery) + 1);
    return g.map((value, i) => (chosen[i] ? m[i]! / correction : value));
  };
};

const subsetVary = {
  beta2: { change: { beta2: 0.5 } },
  stability: { change: { stability: 1 } },
  subset: { change: { subset: 5 } },
};
const lineVary = {
  beta1: { change: { beta1: 0.5 } },
  rank: { change: { rank: 2 } },
  chooseEvery: { change: { chooseEvery: 2 } },
};

const combined =
  (parts: { readonly momentum: boolean; readonly norm: boolean }): Paper["run"] =>
  (setup) => {
    const buffered = buffering(setup);
    const lines = lineMomentum(setup);
    const spread = secondMoments(setup);
    return running(setup, (x, step, rate) => {
      const g = buffered(twoSidedEstimate(setup, x, step));
      const numerator = parts.momentum ? lines(g, step) : g;
      const divisors = spread(g, step);
      return descended(setup, x, rate, parts.norm ? numerator.map((value, i) => value / divisors[i]!) : numerator);
    });
  };

/** arXiv 2411.07120, Subset-Norm: θ ← θ − η·g / (√v̂_j + ϵ), β₂ 0.999, ϵ 10⁻⁶. */
export const subsetNorm: Paper = {
  run: combined({ momentum: false, norm: true }),
  states: (m, n) => Math.max(m, n),
  vary: subsetVary,
  scaleFree: true,
};

/** arXiv 2411.07120, Subspace-Momentum: β₁ 0.9, rank 128 or as many lines as there are, chosen every 200 steps. */
export const subspaceMomentum: Paper = {
  run: combined({ momentum: true, norm: false }),
  states: (m, n) => Math.min(128, m, n) * Math.max(m, n),
  vary: lineVary,
};

/** arXiv 2411.07120, both. */
export const subsetNormMomentum: Paper = {
  run: combined({ momentum: true, norm: true }),
  states: (m, n) => Math.max(m, n) + Math.min(128, m, n) * Math.max(m, n),
  vary: { ...subsetVary, ...lineVary },
  scaleFree: true,
};
