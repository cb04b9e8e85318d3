import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { orthonormalise } from "../../src/engine/cores.js";
import { floatsOf } from "../../src/kernels/arena.js";
import { factorNames, withCores } from "../../src/peft/cores.js";
import type { Method, Placement, Trainable } from "../../src/peft/method.js";
import type { LowRank } from "../../src/perturbation/subspace.js";
import { tensorId, tensorKey } from "../../src/random/key.js";
import { fillNoise } from "../../src/random/noise.js";
import { bitsOf, copyOf, key, methodOf, open } from "./trained.js";

const gaussians = (length: number, step: number): Float64Array => {
  const out = new Float32Array(length);
  fillNoise("gaussian", tensorKey({ seed: 2n, stream: "factor", step, query: 0 }, 1n), 0, out);
  return Float64Array.from(out);
};
/** aᵀ·b of matrices [rows, columns], float64. */
const inner = (a: ArrayLike<number>, b: ArrayLike<number>, columns: number): number[][] =>
  Array.from({ length: columns }, (_, j) =>
    Array.from({ length: columns }, (_, k) => {
      let sum = 0;
      for (let i = 0; i < a.length; i += columns) sum += a[i + j]! * b[i + k]!;
      return sum;
    }),
  );
/** left [rows, inner] times right [inner, columns], as rows. */
const times = (left: readonly (readonly number[])[], right: readonly (readonly number[])[]): number[][] =>
  left.map((row) => right[0]!.map((_, j) => row.reduce((sum, value, k) => sum + value * right[k]![j]!, 0)));
const rowsOf = (values: ArrayLike<number>, columns: number): number[][] =>
  Array.from({ length: values.length / columns }, (_, i) =>
    Array.from({ length: columns }, (_, j) => values[i * columns + j]!),
  );
const transposed = (rows: readonly (readonly number[])[]) => rows[0]!.map((_, j) => rows.map((row) => row[j]!));
const farthest = (a: readonly (readonly number[])[], b: readonly (readonly number[])[]): number => {
  expect([a.length, a[0]!.length]).toEqual([b.length, b[0]!.length]);
  return Math.max(...a.flatMap((row, i) => row.map((value, j) => Math.abs(value - b[i]![j]!))));
};
const identity = (size: number) =>
  Array.from({ length: size }, (_, i) => Array.from({ length: size }, (_, j) => +(i === j)));

describe("orthonormal columns", () => {
  const sizes = fc
    .record({ rank: fc.integer({ min: 1, max: 8 }), more: fc.nat(30), step: fc.nat(1000) })
    .map(({ rank, more, step }) => ({ rank, rows: rank + more, step }));

  it("are Q of A = QR whose R has a positive diagonal, so that Gaussian columns give Haar ones", () => {
    fc.assert(
      fc.property(sizes, ({ rank, rows, step }) => {
        const a = gaussians(rows * rank, step);
        const q = a.slice();
        orthonormalise(q, rank);
        expect(farthest(inner(q, q, rank), identity(rank))).toBeLessThan(1e-12);
        const r = inner(q, a, rank);
        for (let j = 0; j < rank; j++) {
          expect(r[j]![j]).toBeGreaterThan(0);
          for (let k = 0; k < j; k++) expect(Math.abs(r[j]![k]!)).toBeLessThan(1e-12);
        }
        expect(farthest(times(rowsOf(q, rank), r), rowsOf(a, rank))).toBeLessThan(1e-12);
      }),
    );
  });

  it("are orthonormal to 1e-6 however nearly the columns depend on each other", () => {
    for (const apart of [1e-3, 1e-6, 1e-9]) {
      const [rank, rows] = [4, 20];
      const a = gaussians(rows * rank, 7).map((value, i, all) => all[i - (i % rank)]! + (i % rank) * apart * value);
      orthonormalise(a, rank);
      expect(farthest(inner(a, a, rank), identity(rank))).toBeLessThan(1e-6);
    }
  });

  it("point everywhere alike: first moments 0, second ones 1/rows", () => {
    const [rank, rows, draws] = [2, 3, 4000];
    const sum = new Float64Array(rows * rank);
    const squares = new Float64Array(rows * rank);
    for (let step = 0; step < draws; step++) {
      const q = gaussians(rows * rank, step);
      orthonormalise(q, rank);
      q.forEach((value, i) => {
        sum[i]! += value;
        squares[i]! += value * value;
      });
    }
    // A coordinate on the sphere in three dimensions is uniform: variance 1/3, that of its square 4/45.
    for (const value of sum) expect(Math.abs(value)).toBeLessThan(3.5 * Math.sqrt(draws / 3));
    for (const value of squares) expect(Math.abs(value - draws / 3)).toBeLessThan(3.5 * Math.sqrt((draws * 4) / 45));
  });
});

const tensor = (name: string, shape: readonly number[]): Trainable => ({
  ...{ name, shape, initial: { kind: "uniform", bound: 0.5 } },
});
const R = 3;
const EVERY = 4;
/** As a model's own weights, which graphs have side paths for, or as an adapter's, to whose copies products are added. */
const openWith = (kind: LowRank["kind"], placement: Placement, given: Parameters<typeof open>[1] = {}) => {
  const subspace: LowRank = { kind, rank: R, refreshEvery: EVERY };
  const method: Method = withCores(
    methodOf(placement, [tensor("wide", [6, 20]), tensor("tall", [17, 5]), tensor("bias", [9])]),
    subspace,
  );
  const several = placement === "copies";
  const hyperparameters = { rank: R, refreshEvery: EVERY };
  const opened = open(method, { optimizer: kind, hyperparameters, ...given }, { several });
  const { memory, cored } = opened;
  const valuesOf = (name: string) => floatsOf(memory.weights.get(name)!).slice();
  const factors = () =>
    new Map(
      method.cored!.matrices.flatMap((matrix) =>
        Object.values(factorNames(matrix))
          .filter((name) => memory.weights.has(name))
          .map((name) => [name, valuesOf(name)] as const),
      ),
    );
  /** scale·U·core·Vᵀ (or core·Vᵀ) in float64. */
  const productOf = (base: string, core: ArrayLike<number>): number[][] => {
    const { rank, scale } = method.cored!.matrices.find((matrix) => matrix.base === base)!;
    const { u, v } = factorNames({ base });
    const right = transposed(rowsOf(valuesOf(v), rank));
    if (kind === "lozo") return times(rowsOf(core, rank), right);
    const left = times(rowsOf(valuesOf(u), rank), rowsOf(core, rank));
    return times(left, right).map((row) => row.map((value) => scale * value));
  };
  const matrices = method.cored!.matrices;
  const step = (at: number, scale = 0.3) =>
    opened.trainables.update({
      ...{ update: { gradient: [{ key: key(at), scale }], curvature: [] }, step: at },
      scalars: { learningRate: 0.1, core: 1 },
    });
  return { ...opened, cored: cored!, method, matrices, valuesOf, factors, productOf, step };
};
const kinds = ["lozo", "subzero"] as const;
const every = kinds.flatMap((kind) => (["in-place", "copies"] as const).map((placement) => [kind, placement] as const));
const added = (weight: Float32Array, product: readonly (readonly number[])[]) =>
  rowsOf(weight, product[0]!.length).map((row, i) => row.map((value, j) => value + product[i]![j]!));

describe("the factors of a low-rank subspace", () => {
  it.each(every)("stay as they are between refreshes, and all change at one: %s, %s", (kind, placement) => {
    const { factors, trainables, cored, step } = openWith(kind, placement);
    const first = bitsOf(factors());
    expect(first.size).toBe(kind === "lozo" ? 2 : 4);
    for (let at = 0; at < EVERY; at++) {
      trainables.at([[{ key: key(at), scale: 0.1 }]]);
      step(at);
      trainables.settle();
      expect(bitsOf(factors())).toEqual(first);
    }
    cored.refresh(EVERY);
    const second = bitsOf(factors());
    for (const [name, bits] of first) expect(second.get(name)).not.toBe(bits);
  });

  it("are orthonormal to 1e-6 for SubZero, and Gaussian under the tensor's name for LOZO", () => {
    const subzero = openWith("subzero", "in-place");
    for (const at of [0, EVERY]) {
      if (at > 0) subzero.cored.refresh(at);
      for (const factor of subzero.factors().values())
        expect(farthest(inner(factor, factor, R), identity(R))).toBeLessThan(1e-6);
    }
    const lozo = openWith("lozo", "in-place");
    lozo.cored.refresh(EVERY);
    for (const [name, factor] of lozo.factors()) {
      const expected = new Float32Array(factor.length);
      fillNoise(
        "gaussian",
        tensorKey({ seed: 6n, stream: "factor", step: EVERY, query: 0 }, tensorId(name)),
        0,
        expected,
      );
      expect(factor).toEqual(expected);
    }
  });

  it.each(kinds)("are, once a run is taken up after any number of steps, those it would have: %s", (kind) => {
    const live = openWith(kind, "in-place");
    for (let done = 0; done <= 2 * EVERY + 1; done++) {
      if (done > 0) {
        const at = done - 1;
        if (at > 0 && at % EVERY === 0) live.cored.refresh(at);
      }
      const resumed = openWith(kind, "in-place");
      resumed.cored.resume(done);
      expect(bitsOf(resumed.factors())).toEqual(bitsOf(live.factors()));
    }
  });
});

describe("a core", () => {
  it.each(every)("is perturbed along the noise of its own name, and takes the step: %s, %s", (kind, placement) => {
    const { trainables, matrices, valuesOf, step } = openWith(kind, placement);
    const moved = copyOf(trainables.at([[{ key: key(1), scale: 0.125 }]]));
    step(1, 0.4);
    for (const { core, rank } of matrices) {
      const z = new Float32Array(valuesOf(core).length);
      fillNoise("gaussian", tensorKey(key(1), tensorId(core)), 0, z);
      expect(moved.get(core)).toEqual(z.map((value) => 0.125 * value));
      // LOZO's estimate is c·U/r.
      const share = kind === "lozo" ? 1 / rank : 1;
      expect(farthest([[...valuesOf(core)]], [Array.from(z, (value) => -0.1 * 0.4 * share * value)])).toBeLessThan(
        1e-7,
      );
    }
    const z = new Float32Array(9);
    fillNoise("gaussian", tensorKey(key(1), tensorId("bias")), 0, z);
    const bias = openWith(kind, placement).valuesOf("bias");
    expect(farthest([[...valuesOf("bias")]], [Array.from(bias, (value, i) => value - 0.1 * 0.4 * z[i]!)])).toBeLessThan(
      1e-7,
    );
  });

  it.each(every)(
    "is folded into the weights as its product with the factors, and starts again from 0: %s, %s",
    (kind, placement) => {
      const { cored, matrices, valuesOf, productOf, step } = openWith(kind, placement);
      for (let at = 0; at < 3; at++) step(at, 5);
      const before = new Map(matrices.map(({ base }) => [base, valuesOf(base)]));
      const expected = matrices.map(({ base, core }) => added(before.get(base)!, productOf(base, valuesOf(core))));
      cored.fold();
      for (const [i, { base, core, columns }] of matrices.entries()) {
        expect(farthest(rowsOf(valuesOf(base), columns), rowsOf(before.get(base)!, columns))).toBeGreaterThan(0.1);
        // Products of numbers of about 10, three of them.
        expect(farthest(rowsOf(valuesOf(base), columns), expected[i]!)).toBeLessThan(1e-5);
        expect(valuesOf(core).every((value) => value === 0)).toBe(true);
      }
      // Folding nothing changes nothing.
      const folded = matrices.map(({ base }) => valuesOf(base));
      cored.fold();
      expect(matrices.map(({ base }) => valuesOf(base))).toEqual(folded);
    },
  );

  it.each(kinds)(
    "is added to copies of an adapter's weights, at several points at once, which stay as they are: %s",
    (kind) => {
      const { trainables, memory, matrices, valuesOf, productOf, step } = openWith(kind, "copies");
      step(0, 5);
      trainables.settle();
      const before = new Map(matrices.map(({ base }) => [base, valuesOf(base)]));
      const points = [[{ key: key(1), scale: 0.2 }], [], [{ key: key(2), scale: -0.3 }]];
      const there = copyOf(trainables.at(points));
      for (const { base, core, columns } of matrices) {
        const size = there.get(core)!.length / points.length;
        for (const [i] of points.entries()) {
          const own = there.get(core)!.slice(i * size, (i + 1) * size);
          const length = there.get(base)!.length / points.length;
          const moved = there.get(base)!.slice(i * length, (i + 1) * length);
          expect(farthest(rowsOf(moved, columns), added(before.get(base)!, productOf(base, own)))).toBeLessThan(1e-5);
        }
        expect(valuesOf(base)).toEqual(before.get(base));
      }
      // The live weights are those with the live core.
      const live = copyOf(trainables.at([[]]));
      for (const { base, core, columns } of matrices) {
        expect(live.get(base)!.length).toBe(floatsOf(memory.weights.get(base)!).length);
        expect(
          farthest(rowsOf(live.get(base)!, columns), added(before.get(base)!, productOf(base, valuesOf(core)))),
        ).toBeLessThan(1e-5);
      }
    },
  );

  it("leaves a model's own weights to the side paths: nothing is fed in their place", () => {
    const { trainables, matrices, valuesOf, step } = openWith("lozo", "in-place");
    const before = matrices.map(({ base }) => valuesOf(base));
    step(0, 5);
    const there = trainables.at([[{ key: key(1), scale: 0.2 }]]);
    for (const [i, { base, core }] of matrices.entries()) {
      expect(there.has(base)).toBe(false);
      expect(there.has(core)).toBe(true);
      expect(valuesOf(base)).toEqual(before[i]);
    }
  });
});

describe("at a refresh", () => {
  const momentumOf = ({ memory }: Pick<ReturnType<typeof openWith>, "memory">, core: string) =>
    memory.slots.find(({ name }) => name === core)!.tensor.states[0]!;

  it("the weights at the live core are the same before and after, to rounding", () => {
    for (const [kind] of every) {
      const { trainables, cored, matrices, step } = openWith(kind, "copies");
      for (let at = 0; at < EVERY; at++) step(at, 5);
      const before = copyOf(trainables.at([[]]));
      cored.refresh(EVERY);
      const after = copyOf(trainables.at([[]]));
      for (const { base } of matrices)
        expect(farthest([[...after.get(base)!]], [[...before.get(base)!]])).toBeLessThan(1e-5);
    }
  });

  it.each([
    ["LOZO-M's momentum becomes N·V_oldᵀV_new / n", "lozo", { optimizer: "lozo-m" }],
    [
      "SubZero's momentum becomes U_newᵀU_old·N·V_oldᵀV_new",
      "subzero",
      { hyperparameters: { rank: R, refreshEvery: EVERY, momentum: 0.9 } },
    ],
  ] as const)("%s", (_, kind, given) => {
    const opened = openWith(kind, "in-place", given);
    const { cored, matrices, factors, step } = opened;
    for (let at = 0; at < EVERY; at++) step(at, 2 + at);
    opened.trainables.settle();
    const [before, bias] = [factors(), floatsOf(momentumOf(opened, "bias")).slice()];
    const momenta = matrices.map(({ core }) => floatsOf(momentumOf(opened, core)).slice());
    expect(momenta.every((momentum) => momentum.some((value) => Math.abs(value) > 0.1))).toBe(true);
    cored.refresh(EVERY);
    const after = factors();
    for (const [i, matrix] of matrices.entries()) {
      const { u, v } = factorNames(matrix);
      const turned = times(rowsOf(momenta[i]!, R), inner(before.get(v)!, after.get(v)!, R));
      const expected =
        kind === "lozo"
          ? turned.map((row) => row.map((value) => value / matrix.columns))
          : times(inner(after.get(u)!, before.get(u)!, R), turned);
      const carried = rowsOf(floatsOf(momentumOf(opened, matrix.core)), R);
      expect(farthest(carried, expected)).toBeLessThan(1e-5);
      expect(Math.max(...expected.flat().map(Math.abs))).toBeGreaterThan(1e-2);
    }
    // What has no rank keeps its own.
    expect(floatsOf(momentumOf(opened, "bias"))).toEqual(bias);
  });

  it("LOZO-M with one V for ever is momentum on U·Vᵀ", () => {
    const opened = openWith("lozo", "in-place", { optimizer: "lozo-m" });
    const core = "wide#core";
    const size = 6 * R;
    const [n, w] = [new Float64Array(size), new Float64Array(size)];
    for (let at = 0; at < 6; at++) {
      const z = new Float32Array(size);
      fillNoise("gaussian", tensorKey(key(at), tensorId(core)), 0, z);
      for (let i = 0; i < size; i++) {
        n[i] = 0.9 * n[i]! + 0.1 * (1 + at) * z[i]!;
        w[i]! -= (0.1 * n[i]!) / R;
      }
      opened.step(at, 1 + at);
    }
    opened.trainables.settle();
    expect(farthest([[...opened.valuesOf(core)]], [[...w]])).toBeLessThan(1e-6);
  });
});
