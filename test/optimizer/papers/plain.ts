import type { Setup } from "../harness.js";
import {
  buffering,
  clipped,
  descended,
  estimateOf,
  mean,
  noiseOf,
  nothing,
  type Paper,
  plus,
  queriesOf,
  running,
  type Slope,
  sgd,
  slopes,
  twoSidedEstimate,
  type Vector,
} from "./common.js";

/** arXiv 2305.17333, algorithms 1 and 2: θ ← θ − η·(1/n) Σ sᵢ·zᵢ, s the two-sided difference. */
export const mezo: Paper = { run: sgd(twoSidedEstimate), states: nothing, vary: {} };

/** arXiv 2402.11592, section 2: the same. */
export const zoSgd: Paper = { run: sgd(twoSidedEstimate), states: nothing, vary: {} };

/** arXiv 2409.15520: ΔB = −η·(1/n) Σ sᵢ·zᵢ. */
export const pRge: Paper = { run: sgd(twoSidedEstimate), states: nothing, vary: {} };

/** arXiv 2402.11592, ZO-SGD-MMT: buf ← 0.9·buf + ĝ, θ ← θ − η·buf. */
export const zoMomentum: Paper = { run: sgd(twoSidedEstimate, { momentum: 0.9 }), states: (m, n) => m * n, vary: {} };

/** arXiv 2402.11592, ZO-SGD-Sign: θ ← θ − η·sign(ĝ), element by element; with scalar = 1, sign(s)·z in place of ĝ. */
export const zoSign: Paper = {
  run(setup) {
    const { scalar = 0 } = setup.hyperparameters;
    const buffered = buffering(setup);
    return running(setup, (x, step, rate) => {
      const terms = slopes(setup, x, step);
      const released = buffered(estimateOf(scalar === 1 ? terms.map(({ s, z }) => ({ s: Math.sign(s), z })) : terms));
      return descended(setup, x, rate, scalar === 1 ? released : released.map(Math.sign));
    });
  },
  states: nothing,
  vary: { scalar: { change: { scalar: 1 } } },
  scaleFree: true,
};

/** arXiv 2402.11592, ZO-SGD-Cons: the argmin of L over θ, θ − ηĝ and θ + ηĝ; θ where others are no better. */
export const zoConservative: Paper = {
  run: (setup) =>
    running(setup, (x, step, rate) => {
      const g = twoSidedEstimate(setup, x, step);
      const lossAt = (of: Vector) => setup.problem.loss(of, { step, rows: "batch" });
      return [plus(x, -rate, g), plus(x, rate, g)].reduce(
        (best, next) => (lossAt(next) < lossAt(best) ? next : best),
        x,
      );
    }),
  states: nothing,
  vary: {},
  refuses: ["weightDecay", "momentum", "dampening"],
};

/**
 * arXiv 2406.18060: Q_k = max(1, min(⌊α·e^β⌋, Q_max)) directions in epoch e; 0.85, 0.45 and 20 for Llama-2. A step of the runs here is
 * an epoch.
 */
export const adazeta: Paper = {
  run: sgd((setup, x, step) => {
    const { alpha = 0.85, beta = 0.45, most = 20 } = setup.hyperparameters;
    const queries = Math.max(1, Math.min(Math.floor(alpha * step ** beta), most));
    return estimateOf(slopes(setup, x, step, { queries }));
  }),
  states: nothing,
  vary: {
    alpha: { change: { alpha: 3 } },
    beta: { change: { beta: 0.8 } },
    most: { change: { alpha: 3, most: 2 }, from: { alpha: 3 } },
  },
};

const deviation = (values: Vector, divisor: number): number => {
  const centre = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / divisor);
};

/**
 * arXiv 2506.09034: g = (1/εN) Σ (ℓᵢ − ℓ₀)·uᵢ, σ = std(ℓ₁ … ℓ_N) of divisor N − 1, θ ← θ − η·g/σ. As released: no 1/ε, divisor N. FZOO-R:
 * half as many losses, σ over them and as many of the step before.
 */
export const fzoo: Paper = {
  run(setup) {
    const { reference = 0, reuse = 0 } = setup.hyperparameters;
    const { epsilon, problem, queries } = setup;
    const half = Math.ceil(queries / 2);
    let before: Vector = [];
    const buffered = buffering(setup);
    return running(setup, (x, step, rate) => {
      const at = { step, rows: "batch" } as const;
      const base = problem.loss(x, at);
      const sides = queriesOf(reuse === 1 && step > 0 ? half : queries, (query) => {
        const z = noiseOf(setup, step, query);
        // A clip holds projected gradients, before their spread is taken.
        return { z, rise: epsilon * clipped(setup, (problem.loss(plus(x, epsilon, z), at) - base) / epsilon) };
      });
      const spread = [...sides.map(({ rise }) => rise), ...before];
      const sigma = deviation(spread, spread.length - (reference === 1 ? 0 : 1));
      const scale = sigma * (reference === 1 ? 1 : epsilon);
      if (reuse === 1) before = sides.slice(0, half).map(({ rise }) => rise);
      const g = estimateOf(sides.map(({ z, rise }): Slope => ({ z, s: scale === 0 ? 0 : rise / scale })));
      return descended(setup, x, rate, buffered(g));
    });
  },
  states: nothing,
  vary: { reference: { change: { reference: 1 } }, reuse: { change: { reuse: 1 } } },
};

/**
 * arXiv 2404.08080: every q steps an anchor θ̄ ← θ with g ← ∇̄ over the anchor's rows and θ ← θ − η₁g; between them θ ← θ − η₂[∇̄(θ) − ∇̄(θ̄) + g],
 * both estimates along one direction. η₁ is 10·η₂ here, q is 2. Annealing: both rates ÷ 5 where the last w losses' mean is above 1.05 times
 * that of the w losses two windows before.
 */
export const mezoSvrg: Paper = {
  run(setup) {
    const { period = 2, anchorRate = 10, window = 0, anneal = 5 } = setup.hyperparameters;
    const { epsilon, problem } = setup;
    let [anchor, g]: Vector[] = [];
    let factor = 1;
    const losses: number[] = [];
    /** A step's loss: the mean over its points about θ. */
    const seen = (x: Vector, step: number, rows: "batch" | "anchor") =>
      mean(
        queriesOf(setup.queries, (query) => noiseOf(setup, step, query)).flatMap((z) =>
          [1, -1].map((sign) => problem.loss(plus(x, sign * epsilon, z), { step, rows })),
        ),
      );
    return running(setup, (x, step, rate) => {
      if (window > 0 && step % window === 0 && step >= 3 * window) {
        const [last, earlier] = [losses.slice(-window), losses.slice(-3 * window, -2 * window)];
        if (mean(last) > 1.05 * mean(earlier)) factor /= anneal;
      }
      const rows = step % period === 0 ? "anchor" : "batch";
      losses.push(seen(x, step, rows));
      if (rows === "anchor") {
        anchor = x;
        g = estimateOf(slopes(setup, x, step, { rows }));
        return plus(x, -rate * anchorRate * factor, g);
      }
      const [here, there] = [x, anchor!].map((from) => estimateOf(slopes(setup, from, step)));
      return x.map((value, i) => value - rate * factor * (here![i]! - there![i]! + g![i]!));
    });
  },
  states: nothing,
  vary: {
    period: { change: { period: 3 } },
    anchorRate: { change: { anchorRate: 4 } },
    window: { change: { window: 1 } },
    anneal: { change: { window: 1, anneal: 2 }, from: { window: 1 } },
  },
  refuses: ["weightDecay", "momentum", "dampening"],
  learningRate: 0.005,
};

/** One-sided differences, s = (L(θ + εz) − L(θ)) / ε: what `--estimator one-sided` puts in a two-sided estimate's place. */
export const oneSidedSlopes = (
  setup: Setup,
  x: Vector,
  step: number,
  shape: (z: Vector) => Vector = (z) => z,
): Slope[] => {
  const { epsilon, problem, queries } = setup;
  const base = problem.loss(x, { step, rows: "batch" });
  return queriesOf(queries, (query) => {
    const z = noiseOf(setup, step, query);
    const moved = problem.loss(plus(x, epsilon, shape(z)), { step, rows: "batch" });
    return { z, s: clipped(setup, (moved - base) / epsilon) };
  });
};
