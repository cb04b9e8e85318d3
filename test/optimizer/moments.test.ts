import { describe, expect, test } from "vitest";
import { orthonormalise } from "../../src/engine/cores.js";
import { floatsOf } from "../../src/kernels/arena.js";
import type { OptimizerName } from "../../src/optimizer/optimizers.js";
import { dot } from "../estimator/quadratic.js";
import { openLab, type Problem, problems, type Setup, setupOf } from "./harness.js";

/*
 * Means and second moments of whole steps: of a linear loss, whose gradient is the same everywhere, so that the steps of a run from one
 * start are independent draws of the estimate. A mean of n draws is within 4.5 of its standard errors, which one of a million misses.
 */

const slope = (d: number): number[] => Array.from({ length: d }, (_, i) => Math.cos(2 * i + 1));
/** Places far apart in magnitude, none of them 0. */
const startOf = (d: number): number[] => Array.from({ length: d }, (_, i) => (i % 2 === 0 ? 1 : -1) * (0.1 + i / d));
const linear = (parts: Problem["parts"], d: number): Problem => ({
  ...{ parts, start: startOf(d) },
  loss: (x) => dot(slope(d), x),
});
const matrix = (rows: number, columns: number) => linear([{ name: "x", shape: [rows, columns] }], rows * columns);
const model = linear(problems.model.parts, 24);

/** Estimates ĝ = −Δθ/η of `count` steps from the same start. */
const draws = async (optimizer: OptimizerName, change: Partial<Setup>, count: number): Promise<Float64Array[]> => {
  const setup = setupOf(optimizer, { epsilon: 0.5, learningRate: 0.5, steps: count, problem: matrix(4, 3), ...change });
  const lab = openLab(setup);
  const start = lab.held();
  const before = lab.weights();
  const estimates: Float64Array[] = [];
  for (let step = 0; step < count; step++) {
    await lab.step(step, lab.stepper.estimator.initial);
    estimates.push(Float64Array.from(lab.weights(), (value, i) => (before[i]! - value) / setup.learningRate));
    lab.write(start);
  }
  return estimates;
};

/** A mean, and how many standard errors it is from what is expected. */
const sample = (values: ArrayLike<number>) => {
  const n = values.length;
  const mean = Array.from(values).reduce((sum, value) => sum + value / n, 0);
  const variance = Array.from(values).reduce((sum, value) => sum + (value - mean) ** 2 / (n - 1), 0);
  return { mean, error: Math.sqrt(variance / n) };
};
/** Rounding of steps apart. */
const ROUNDING = 1e-5;
const expectMean = (values: ArrayLike<number>, expected: number, what = ""): void => {
  const { mean, error } = sample(values);
  expect(Math.abs(mean - expected), `${what}: ${mean} ± ${error}, not ${expected}`).toBeLessThan(
    4.5 * error + ROUNDING,
  );
};
const expectMeans = (estimates: readonly Float64Array[], expected: readonly number[]): void => {
  for (const [i, value] of expected.entries())
    expectMean(
      estimates.map((estimate) => estimate[i]!),
      value,
      `[${i}]`,
    );
};
interface Ratio {
  /** Another formula, which the draws must be able to tell from it. */
  readonly unlike: number;
  /** E ĝ·∇/‖∇‖², where it is not 1. */
  readonly along?: number;
  readonly from?: number;
  readonly to?: number;
}
/**
 * E‖ĝ‖² over some elements ÷ ‖∇‖² over the same. What ĝ·∇, whose mean is known, explains of it is taken off (a control variate), which
 * makes two to three times as sharp.
 */
const expectRatio = (estimates: readonly Float64Array[], expected: number, ratio: Ratio): void => {
  const { unlike, along = 1, from = 0, to = estimates[0]!.length } = ratio;
  const gradient = slope(estimates[0]!.length).slice(from, to);
  const pairs = estimates.map((estimate) => {
    const own = estimate.subarray(from, to);
    return { square: dot(own, own) / dot(gradient, gradient), control: dot(own, gradient) / dot(gradient, gradient) };
  });
  const [squares, controls] = [sample(pairs.map(({ square }) => square)), sample(pairs.map(({ control }) => control))];
  const covariance = pairs.reduce(
    (sum, { square, control }) => sum + ((square - squares.mean) * (control - controls.mean)) / pairs.length ** 2,
    0,
  );
  const factor = covariance / controls.error ** 2;
  const adjusted = pairs.map(({ square, control }) => square - factor * (control - along));
  expectMean(adjusted, expected, `E‖ĝ‖²/‖∇‖² over ${from} … ${to}`);
  const { mean, error } = sample(adjusted);
  expect(Math.abs(mean - unlike), `± ${error} cannot tell ${expected} from ${unlike}`).toBeGreaterThan(4.5 * error);
};

const N = 2000;

describe.each([1, 4])("with %d queries", (q) => {
  const d = 12;
  test.each([
    ["gaussian", (d + q + 1) / q, (d + q - 1) / q],
    ["sphere", (d + q - 1) / q, (d + q + 1) / q],
    ["rademacher", (d + q - 1) / q, (d + q + 1) / q],
  ] as const)(
    "%s noise: the mean is the gradient, and second moments are those of the table",
    async (perturbation, ratio, unlike) => {
      const estimates = await draws("mezo", { perturbation, queries: q }, N);
      expectMeans(estimates, slope(d));
      expectRatio(estimates, ratio, { unlike });
    },
  );
});

describe("masks", () => {
  test("a random mask: elements move with probability 1 − s, and variance is that of those which do", async () => {
    const sparsity = 0.75;
    const estimates = await draws("mezo", { choice: { subspace: "random" }, hyperparameters: { sparsity } }, N);
    const moving = estimates.map((estimate) => estimate.filter((value) => value !== 0).length / 12);
    expectMean(moving, 1 - sparsity);
    expectMeans(
      estimates,
      slope(12).map((value) => (1 - sparsity) * value),
    );
    // Of k that move: (k + 2)·‖∇ there‖². With one element's share: it moves, and with it a Binomial of the 11 others.
    expectRatio(estimates, (1 - sparsity) * (11 * (1 - sparsity) + 3), {
      unlike: 14 * (1 - sparsity),
      along: 1 - sparsity,
    });
  });

  test("a random mask is drawn every `interval` steps, and shared by all walks", async () => {
    const estimates = await draws(
      "mezo",
      { choice: { subspace: "random" }, hyperparameters: { sparsity: 0.5, interval: 5 }, queries: 2 },
      100,
    );
    const masks = estimates.map((estimate) => Array.from(estimate, (value) => value !== 0).join());
    for (let step = 0; step < masks.length; step++) expect(masks[step]).toBe(masks[step - (step % 5)]);
    expect(new Set(masks).size).toBeGreaterThan(15);
  });

  test("a mask of magnitudes: the largest never change, and d is the number of the others", async () => {
    const estimates = await draws("sparse-mezo", { hyperparameters: { sparsity: 0.75 } }, N);
    // Magnitudes ascend with the element's number: three of twelve are below the quantile.
    for (const estimate of estimates)
      expect(Array.from(estimate, (value) => value !== 0)).toEqual(slope(12).map((_, i) => i < 3));
    expectMeans(
      estimates,
      slope(12).map((value, i) => (i < 3 ? value : 0)),
    );
    expectRatio(estimates, 3 + 2, { unlike: 12 + 2, to: 3 });
  });

  test("a magnitude mask follows the weights", async () => {
    const lab = openLab(setupOf("sparse-mezo", { problem: matrix(4, 3), learningRate: 0.5, steps: 1 }));
    const held = lab.held();
    // The largest becomes the smallest.
    const moved = held.get("x")!.slice();
    moved[11] = 0.01;
    lab.write(new Map([...held, ["x", moved]]));
    await lab.step(0, undefined);
    const after = lab.weights();
    expect(Array.from(after, (value, i) => value !== moved[i])).toEqual(slope(12).map((_, i) => i < 3 || i === 11));
  });
});

test("LeZO: each block moves with probability 1 − ρ, ⌊ρℓ⌋ rest in each step, and what is in no block always moves", async () => {
  const estimates = await draws("lezo", { problem: model, hyperparameters: { drop: 0.75 } }, N);
  // The first matrix is in no block; a block's weight and its bias move together.
  const blocks = [6, 12, 16, 20].map((from) => (estimate: Float64Array) => estimate[from] !== 0);
  for (const estimate of estimates) {
    expect(blocks.filter((moves) => moves(estimate)).length).toBe(1);
    expect(estimate.subarray(0, 6).every((value) => value !== 0)).toBe(true);
    expect(estimate[6] !== 0).toBe(estimate[10] !== 0);
  }
  for (const moves of blocks)
    expectMean(
      estimates.map((estimate) => Number(moves(estimate))),
      0.25,
    );
  expectMeans(
    estimates,
    slope(24).map((value, i) => (i < 6 ? value : 0.25 * value)),
  );
});

describe("low-rank subspaces", () => {
  test.each([
    [4, 3, 1],
    [4, 3, 2],
    [3, 3, 3],
  ])(
    "SubZero of %d × %d, rank %d: unbiased over subspaces, ‖P‖² as dense noise, second moment mn(1 + 2/r²)",
    async (m, n, rank) => {
      const setup = { problem: matrix(m, n), hyperparameters: { rank, refreshEvery: 1 } };
      const estimates = await draws("subzero", setup, N);
      expectMeans(estimates, slope(m * n));
      expectRatio(estimates, m * n * (1 + 2 / rank ** 2), { unlike: rank === 1 ? m * n + 2 : m * n * (1 + 2 / rank) });
    },
  );

  test.each([
    [4, 3, 1],
    [4, 3, 2],
    [3, 4, 3],
  ])("LOZO of %d × %d, rank %d: unbiased, second moment mn + 2 + 2(m + n + 1)/r", async (m, n, rank) => {
    const setup = { problem: matrix(m, n), hyperparameters: { rank, refreshEvery: 1 } };
    const estimates = await draws("lozo", setup, N);
    expectMeans(estimates, slope(m * n));
    expectRatio(estimates, m * n + 2 + (2 * (m + n + 1)) / rank, { unlike: m * n + 2 });
  });

  test("SubZero between two refreshes: the mean is c²·UUᵀ∇VVᵀ, and U and V stay as they are, orthonormal", async () => {
    const [m, n, rank] = [3, 4, 2];
    const setup = { problem: matrix(m, n), hyperparameters: { rank, refreshEvery: 10 ** 6 } };
    const { memory } = openLab(setupOf("subzero", setup)).variables;
    const [u, v] = ["x#u", "x#v"].map((name) => Array.from(floatsOf(memory.weights.get(name)!)));
    const projector = (factor: readonly number[], rows: number) =>
      Array.from({ length: rows }, (_, i) =>
        Array.from({ length: rows }, (__, j) =>
          dot(factor.slice(i * rank, (i + 1) * rank), factor.slice(j * rank, (j + 1) * rank)),
        ),
      );
    const [uu, vv] = [projector(u!, m), projector(v!, n)];
    // UUᵀ is a projector of trace r, so U is orthonormal.
    for (const [p, rows] of [[uu, m] as const, [vv, n] as const]) {
      expect(Math.abs(p.reduce((sum, row, i) => sum + row[i]!, 0) - rank)).toBeLessThan(1e-6);
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < rows; j++)
          expect(
            Math.abs(
              dot(
                p[i]!,
                p.map((row) => row[j]!),
              ) - p[i]![j]!,
            ),
          ).toBeLessThan(1e-6);
    }
    const g = slope(m * n);
    const expected = Array.from({ length: m * n }, (_, e) => {
      const [i, j] = [Math.floor(e / n), e % n];
      let sum = 0;
      for (let a = 0; a < m; a++) for (let b = 0; b < n; b++) sum += uu[i]![a]! * g[a * n + b]! * vv[b]![j]!;
      return ((m * n) / rank ** 2) * sum;
    });
    const estimates = await draws("subzero", setup, N);
    expectMeans(estimates, expected);
    // The projected gradient's own ratio: r² + 2, the variance that is advertised.
    const squares = estimates.map((estimate) => dot(estimate, estimate) / dot(expected, expected));
    expectMean(squares, rank ** 2 + 2);
  });

  test("factors are Haar: QR's with a positive diagonal, orthonormal whatever the columns", () => {
    const [rows, rank] = [40, 6];
    // Nearly dependent columns: one pass of Gram–Schmidt would leave 1e-8.
    const start = Float64Array.from(
      { length: rows * rank },
      (_, i) => Math.sin(Math.floor(i / rank)) + 1e-7 * Math.cos(i * i),
    );
    const q = start.slice();
    orthonormalise(q, rank);
    const column = (of: Float64Array, k: number) => Array.from({ length: rows }, (_, i) => of[i * rank + k]!);
    for (let j = 0; j < rank; j++) {
      for (let k = 0; k <= j; k++)
        expect(Math.abs(dot(column(q, j), column(q, k)) - Number(j === k))).toBeLessThan(1e-12);
      expect(dot(column(q, j), column(start, j))).toBeGreaterThan(0);
    }
  });
});

test("block by block: each block's estimate is the gradient's with the variance of its own size", async () => {
  for (const sweep of ["gauss-seidel", "jacobi"] as const) {
    const estimates = await draws("mezo", { problem: model, choice: { blocks: "transformer", sweep } }, N);
    expectMeans(estimates, slope(24));
    const blocks = [0, 6, 12, 16, 20, 24];
    for (const [i, to] of blocks.slice(1).entries()) {
      const from = blocks[i]!;
      expectRatio(estimates, to - from + 2, { from, to, unlike: 24 + 2 });
    }
  }
});

describe("FZOO on a linear loss", () => {
  const queries = 64;
  const released = { queries, hyperparameters: { reference: 1 } };
  test("the mean step is along −∇, of about the learning rate's length, with the cosine √(N/(d + N − 1))", async () => {
    const estimates = await draws("fzoo", released, 400);
    const g = slope(12);
    const norm = Math.sqrt(dot(g, g));
    const along = estimates.map((estimate) => dot(estimate, g) / norm);
    // E[1/σ] of N losses is a little above 1/E[σ]: (1 + 3/4N …) for nearly normal ones.
    expect(Math.abs(sample(along).mean - 1)).toBeLessThan(4.5 * sample(along).error + 1 / queries);
    const across = estimates.map((estimate) => estimate.map((value, i) => value - (sample(along).mean * g[i]!) / norm));
    expectMeans(
      across,
      g.map(() => 0),
    );
    const cosines = estimates.map((estimate, i) => along[i]! / Math.sqrt(dot(estimate, estimate)));
    expect(Math.abs(sample(cosines).mean - Math.sqrt(queries / (12 + queries - 1)))).toBeLessThan(0.01);
  });

  test("the released form's steps do not depend on ε, nor on the gradient's length", async () => {
    const one = (await draws("fzoo", released, 5)).map((estimate) => Array.from(estimate));
    const scaled: Problem = { ...matrix(4, 3), loss: (x) => 1024 * dot(slope(12), x) };
    for (const change of [{ epsilon: 0.0625 }, { problem: scaled }]) {
      const other = await draws("fzoo", { ...released, ...change }, 5);
      for (const [step, estimate] of other.entries())
        for (const [i, value] of estimate.entries()) expect(Math.abs(value - one[step]![i]!)).toBeLessThan(1e-4);
    }
  });
});
