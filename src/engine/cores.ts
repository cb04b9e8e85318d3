import { floatsOf, part, type Slab } from "../kernels/arena.js";
import { drawer } from "../kernels/draw.js";
import { folder } from "../kernels/fold.js";
import { type Cored, factorNames } from "../peft/cores.js";
import { type Key, tensorId } from "../random/key.js";
import type { Memory } from "./memory.js";
import type { EnginePlan } from "./protocol.js";
import type { Trainables } from "./trainables.js";

type Plan = NonNullable<EnginePlan["cored"]>;

/** Columns made orthonormal in place (twice Gram–Schmidt, float64), each to the side that it came from: Haar for Gaussian ones. */
export const orthonormalise = (matrix: Float64Array, rank: number): void => {
  const rows = matrix.length / rank;
  const dot = (a: number, b: number): number => {
    let sum = 0;
    for (let i = 0; i < rows; i++) sum += (matrix[i * rank + a] ?? 0) * (matrix[i * rank + b] ?? 0);
    return sum;
  };
  for (let k = 0; k < rank; k++) {
    // Once leaves what cancellation brings back.
    for (let round = 0; round < 2; round++) {
      for (let j = 0; j < k; j++) {
        const along = dot(j, k);
        for (let i = 0; i < rows; i++)
          matrix[i * rank + k] = (matrix[i * rank + k] ?? 0) - along * (matrix[i * rank + j] ?? 0);
      }
    }
    const length = Math.sqrt(dot(k, k));
    for (let i = 0; i < rows; i++) matrix[i * rank + k] = (matrix[i * rank + k] ?? 0) / length;
  }
};

/** left [rows, inner] times right [inner, columns], or times its transpose [columns, inner]; float64 sums, rounded once. */
const multiply = (
  left: ArrayLike<number>,
  right: ArrayLike<number>,
  inner: number,
  columns: number,
  { transposed = false, scale = 1 } = {},
): Float32Array => {
  const rows = left.length / inner;
  const out = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) {
      let sum = 0;
      for (let k = 0; k < inner; k++)
        sum += (left[i * inner + k] ?? 0) * (right[transposed ? j * inner + k : k * columns + j] ?? 0);
      out[i * columns + j] = scale * sum;
    }
  return out;
};

/** aᵀ·b of two matrices [rows, rank]: [rank, rank]. */
const inner = (a: Float32Array, b: Float32Array, rank: number): Float64Array => {
  const out = new Float64Array(rank * rank);
  for (let i = 0; i < a.length; i += rank)
    for (let j = 0; j < rank; j++)
      for (let k = 0; k < rank; k++) out[j * rank + k] = (out[j * rank + k] ?? 0) + (a[i + j] ?? 0) * (b[i + k] ?? 0);
  return out;
};

/** Trainable weights some of which are cores. */
export interface CoredTrainables extends Trainables {
  /** Folds the cores, starts them from 0 and draws the factors of the refresh at `step`; momentum is carried over. */
  refresh(step: number): void;
  /** Draws the factors that are in use once `step` steps are done. */
  resume(step: number): void;
  fold(): void;
}

/**
 * Weights in a low-rank subspace (LOZO, arXiv 2410.07698; SubZero, arXiv 2410.08989). Cores are walked in copies; what they do to an adapter's
 * tensors is added to copies of those, and to a model's own weights the graph's side paths do it.
 *
 * @param cores the trainable weights of the plan: cores, and tensors that are no matrices
 */
export const inSubspace = (
  cores: Trainables,
  { slots, weights, room }: Memory,
  { subspace, matrices, bySide, seed }: Plan,
  states: readonly string[],
): CoredTrainables => {
  const fill = folder();
  const draw = drawer("gaussian");
  const { kind, refreshEvery } = subspace;
  const slabOf = (name: string): Slab => {
    const slab = weights.get(name);
    if (slab === undefined) throw new Error(`no tensor ${name} in the engine`);
    return slab;
  };
  const valuesOf = (name: string): Float32Array<ArrayBuffer> => floatsOf(slabOf(name));

  const factor = (name: string, rank: number, query: number, step: number): void => {
    const key: Key = { seed, stream: "factor", step, query };
    const values = valuesOf(name);
    draw(key, tensorId(name), values);
    if (kind === "lozo") return;
    const exact = Float64Array.from(values);
    orthonormalise(exact, rank);
    values.set(exact);
  };
  const drawFactors = (step: number): void => {
    for (const matrix of matrices) {
      const { u, v } = factorNames(matrix);
      factor(v, matrix.rank, 0, step);
      if (kind === "subzero") factor(u, matrix.rank, 1, step);
    }
  };
  /** W ← W + scale·U·core·Vᵀ. */
  const addProduct = (weight: Float32Array, core: Float32Array, matrix: Cored): void => {
    const { rank, scale } = matrix;
    const { u, v } = factorNames(matrix);
    const left = kind === "lozo" ? core : multiply(valuesOf(u), core, rank, rank, { scale });
    fill(weight, left, valuesOf(v), rank);
  };
  const fold = (): void => {
    for (const matrix of matrices) {
      const core = valuesOf(matrix.core);
      addProduct(valuesOf(matrix.base), core, matrix);
      core.fill(0);
    }
  };
  /** Momentum in the coordinates of the new factors: N·V_oldᵀV_new / n, and for orthonormal ones U_newᵀU_old·N·V_oldᵀV_new. */
  const carryOver = (before: ReadonlyMap<string, Float32Array>): void => {
    for (const matrix of matrices) {
      const { rank, columns, core } = matrix;
      const slab = slots.find(({ name }) => name === core)?.tensor.states[states.indexOf("momentum")];
      if (slab === undefined) continue;
      const { u, v } = factorNames(matrix);
      const old = (name: string) => before.get(name) ?? new Float32Array();
      const momentum = floatsOf(slab);
      const turn = inner(old(v), valuesOf(v), rank);
      if (kind === "lozo") momentum.set(multiply(momentum, turn, rank, rank, { scale: 1 / columns }));
      else momentum.set(multiply(inner(valuesOf(u), old(u), rank), multiply(momentum, turn, rank, rank), rank, rank));
    }
  };
  drawFactors(0);
  return {
    ...cores,
    at(points) {
      const there = cores.at(points);
      if (bySide) return there;
      const moved = new Map(there);
      for (const matrix of matrices) {
        const { base, core } = matrix;
        const live = slabOf(base);
        const copies = room.get(base);
        const perturbed = there.get(core);
        if (copies === undefined || perturbed === undefined) throw new Error(`no room for copies of ${base}`);
        const size = perturbed.length / points.length;
        for (const [i] of points.entries()) {
          const copy = floatsOf(part(copies, i * live.length, live.length));
          copy.set(floatsOf(live));
          addProduct(copy, floatsOf(part(perturbed, i * size, size)), matrix);
        }
        moved.set(base, part(copies, 0, points.length * live.length));
      }
      return moved;
    },
    refresh(step) {
      cores.settle();
      fold();
      const before = new Map(
        matrices.flatMap((matrix) =>
          Object.values(factorNames(matrix)).flatMap((name) =>
            weights.has(name) ? [[name, valuesOf(name).slice()] as const] : [],
          ),
        ),
      );
      drawFactors(step);
      if (states.includes("momentum")) carryOver(before);
    },
    resume(step) {
      drawFactors(step === 0 ? 0 : step - 1 - ((step - 1) % refreshEvery));
    },
    fold() {
      cores.settle();
      fold();
    },
    forget() {
      cores.forget();
      drawFactors(0);
    },
  };
};
