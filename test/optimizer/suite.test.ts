import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ZerothError } from "../../src/errors.js";
import { floatsOf } from "../../src/kernels/arena.js";
import { optimizers } from "../../src/optimizer/optimizers.js";
import type { Placement } from "../../src/peft/method.js";
import { isLowRank } from "../../src/perturbation/subspace.js";
import type { StepRecord } from "../../src/train/journal.js";
import { movesOf } from "../../src/train/step.js";
import { dense, diagonal, lossOf, minimumOf, type Quadratic } from "../estimator/quadratic.js";
import {
  bitsOf,
  type Lab,
  names,
  type Problem,
  problems,
  quadraticOf,
  type Setup,
  setupOf,
  sizeOf,
  walked,
} from "./harness.js";
import { papers } from "./papers/papers.js";

/* What holds for every optimizer of the table, whatever its paper: a new one joins by its row. */

import { openLab } from "./harness.js";

/** Hyperparameters at which everything that an optimizer remembers is in use: short periods, and momentum where it may be. */
const busy = (name: (typeof names)[number]): Readonly<Record<string, number>> => {
  const short = { period: 3, window: 1, refreshEvery: 2, chooseEvery: 2, smoothing: 0.01, reuse: 1, momentum: 0.5 };
  const own = optimizers[name].hyperparameters;
  const refused = papers[name].refuses ?? [];
  return Object.fromEntries(Object.entries(short).filter(([option]) => option in own && !refused.includes(option)));
};

const setup = (name: (typeof names)[number], change: Partial<Setup> = {}): Setup =>
  setupOf(name, {
    ...{ problem: problems.model, learningRate: papers[name].learningRate ?? 0.02, steps: 7, queries: 3 },
    hyperparameters: busy(name),
    ...change,
  });

const bits = (lab: Lab): Record<string, number[]> =>
  Object.fromEntries([...lab.held()].map(([name, values]) => [name, bitsOf(values)]));

/** Takes steps `from` … `to` − 1. */
const run = async (lab: Lab, from: number, to: number, memory: unknown = lab.stepper.estimator.initial) => {
  const records: StepRecord[] = [];
  let remembered = memory;
  for (let step = from; step < to; step++) {
    const taken = await lab.step(step, remembered);
    records.push(taken.record);
    remembered = taken.memory;
  }
  return { records, memory: remembered };
};

const replayed = (lab: Lab, records: readonly StepRecord[]): unknown => {
  let memory: unknown = lab.stepper.estimator.initial;
  for (const record of records) {
    const next = movesOf(lab.stepper, record, memory);
    lab.variables.replay(next.moves);
    memory = next.memory;
  }
  return memory;
};

const placements: readonly Placement[] = ["copies", "in-place"];
/** A spacing of fp32 numbers at a value. */
const spacing = (value: number): number => 2 ** (Math.floor(Math.log2(Math.max(2 ** -126, Math.abs(value)))) - 23);

describe.each(names)("%s", (name) => {
  const refused = papers[name].refuses ?? [];

  test("two runs have equal bits; another seed has others", async () => {
    for (const placement of placements) {
      const [one, two, other] = await Promise.all(
        [{}, {}, { seed: 22 }].map((seed) => walked(setup(name, { placement, ...seed }))),
      );
      expect(one!.map(bitsOf)).toEqual(two!.map(bitsOf));
      expect(bitsOf(one!.at(-1)!)).not.toEqual(bitsOf(other!.at(-1)!));
    }
  });

  test.each([1, 3])("the journal rebuilds weights and states to the bit, with %d queries", async (queries) => {
    for (const placement of placements) {
      // FZOO of one query has no spread, and stays.
      const live = setup(name, { placement, queries: name === "fzoo" ? 2 * queries : queries });
      const [lab, again] = [openLab(live), openLab(live)];
      const start = bits(again);
      const { records, memory } = await run(lab, 0, live.steps);
      expect(replayed(again, records)).toEqual(memory);
      expect(bits(again)).toEqual(bits(lab));
      expect(bits(again)).not.toEqual(start);
    }
  });

  test("a run that is gone on with in the middle ends with the same bits", async () => {
    for (const placement of placements) {
      const live = setup(name, { placement });
      const [whole, lab, other] = [openLab(live), openLab(live), openLab(live)];
      await run(whole, 0, live.steps);
      const records: StepRecord[] = [];
      let memory: unknown = lab.stepper.estimator.initial;
      for (const middle of [1, 4]) {
        const taken = await run(lab, records.length, middle, memory);
        records.push(...taken.records);
        memory = taken.memory;
        other.write(lab.held());
        other.variables.cored?.resume(middle);
        // What the estimator remembers comes from the journal alone.
        const remembered = records.reduce<unknown>(
          (before, record) => movesOf(other.stepper, record, before).memory,
          other.stepper.estimator.initial,
        );
        await run(other, middle, live.steps, remembered);
        expect(bits(other)).toEqual(bits(whole));
      }
    }
  });

  test("a learning rate of 0 moves no weight: to the bit in copies, by 3 spacings a visit in place", async () => {
    for (const placement of placements) {
      const still = setup(name, { placement, learningRate: 0, epsilon: 1e-2, steps: 3 });
      const lab = openLab(still);
      const start = lab.weights();
      const { records } = await run(lab, 0, still.steps);
      const visits = records.reduce((sum, { losses }) => sum + losses.length, 0);
      lab.weights().forEach((value, i) => {
        const allowed = placement === "copies" ? 0 : 3 * visits * spacing(start[i]!);
        expect(Math.abs(value - start[i]!), `[${i}]`).toBeLessThanOrEqual(allowed);
      });
    }
  });

  test("no weight moves in a step with a loss that is not finite, whichever it is; the next steps go on", async () => {
    const bad = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e39];
    // Between two refreshes of a subspace; once at an anchor and once between two.
    for (const placement of placements)
      for (const middle of [1, 3]) {
        const live = setup(name, { placement });
        const lab = openLab(live);
        const { memory } = await run(lab, 0, middle);
        const before = lab.held();
        const start = lab.weights();
        const { records } = await run(lab, middle, middle + 1, memory);
        const evaluations = records[0]!.losses.length;
        expect(evaluations).toBeGreaterThan(1);
        for (let at = 0; at < evaluations; at++) {
          lab.write(before);
          let count = 0;
          const step = await lab.step(middle, memory, (x, when) =>
            count++ === at ? bad[at % bad.length]! : live.problem.loss(x, when),
          );
          expect(step.record.refused).toBe(true);
          expect(step.memory).toEqual(memory);
          if (placement === "copies")
            expect(bits(lab)).toEqual(Object.fromEntries([...before].map(([key, values]) => [key, bitsOf(values)])));
          else
            lab.weights().forEach((value, i) => {
              // Points lie a few ε|z| away, so spacings are those there.
              const allowed = 3 * evaluations * spacing(Math.abs(start[i]!) + 1);
              expect(Math.abs(value - start[i]!)).toBeLessThanOrEqual(allowed);
            });
        }
        const { records: later } = await run(lab, middle + 1, middle + 3, memory);
        expect(later.map(({ refused: again }) => again)).toEqual([false, false]);
        expect(lab.weights().every(Number.isFinite)).toBe(true);
      }
  });

  test("a refused step is replayed as it was", async () => {
    for (const placement of placements) {
      const live = setup(name, { placement });
      const [lab, again] = [openLab(live), openLab(live)];
      const { records, memory } = await run(lab, 0, 3);
      let count = 0;
      const step = await lab.step(3, memory, (x, when) => (count++ === 1 ? Number.NaN : live.problem.loss(x, when)));
      const { records: later } = await run(lab, 4, 6, step.memory);
      replayed(again, [...records, step.record, ...later]);
      expect(bits(again)).toEqual(bits(lab));
    }
  });

  test("a loss that is the same everywhere moves no weight, and leaves numbers", async () => {
    const flat: Problem = { ...problems.model, loss: () => 3 };
    const lab = openLab(setup(name, { problem: flat, hyperparameters: {} }));
    const start = lab.weights();
    const { records } = await run(lab, 0, 3);
    expect(records.some(({ refused: no }) => no)).toBe(false);
    expect(bitsOf(lab.weights())).toEqual(bitsOf(start));
    for (const values of lab.held().values()) expect(values.every(Number.isFinite)).toBe(true);
  });

  test("its states cost what its paper says", () => {
    const parts = [
      { name: "tall", shape: [12, 5] },
      { name: "wide", shape: [3, 20] },
      { name: "bias", shape: [9] },
    ];
    const d = parts.reduce((sum, part) => sum + sizeOf(part), 0);
    const problem: Problem = { ...{ parts, start: Array.from({ length: d }, () => 1) }, loss: () => 0 };
    const statesOf = (change: Partial<Setup>): number[] => {
      const { memory } = openLab(setup(name, { problem, hyperparameters: {}, ...change })).variables;
      return memory.slots.map(({ tensor }) => tensor.states.reduce((sum, slab) => sum + floatsOf(slab).byteLength, 0));
    };
    const declared = parts.map(({ shape: [m = 1, n = 1] }) => 4 * papers[name].states(m, n));
    expect(statesOf({})).toEqual(declared);
    // Momentum is one number more for each that is trained: a weight, or a core's.
    if (refused.includes("momentum") || "momentum" in papers[name] || optimizers[name].hyperparameters.momentum !== 0)
      return;
    const { subspace } = openLab(setup(name, { problem, hyperparameters: {} })).plan;
    const trained = parts.map((part) => {
      const [m = 1, n = 1] = part.shape;
      if (!isLowRank(subspace) || part.shape.length < 2) return sizeOf(part);
      return subspace.kind === "lozo" ? m * Math.min(subspace.rank, m, n) : undefined;
    });
    statesOf({ hyperparameters: { momentum: 0.5 } }).forEach((bytes, i) => {
      if (trained[i] !== undefined) expect(bytes).toBe(declared[i]! + 4 * trained[i]!);
    });
  });

  test("its starting points are those of a published method: the adapter's ε ten times the model's or so, its rate larger", () => {
    const { adapter, full } = optimizers[name].defaults;
    expect(adapter.epsilon).toBeGreaterThan(full.epsilon);
    expect(adapter.learningRate).toBeGreaterThan(full.learningRate);
    expect(optimizers[name].noises.length).toBeGreaterThan(0);
  });

  const outside: Readonly<Record<string, readonly unknown[]>> = {
    weightDecay: [-1e-9],
    momentum: [-1e-9, 1],
    dampening: [-1e-9, 1.0001],
    clip: [-1e-9],
    beta: name === "adazeta" ? [-1e-9] : [-1e-9, 1],
    beta1: [-1e-9, 1],
    beta2: name === "helene" || name === "zo-adam" ? [-1e-9, 1] : [-1e-9, 1.0001],
    stability: [-1e-9],
    smoothing: [-1e-9, 1.0001],
    reference: [-1, 0.5, 2],
    reuse: [-1, 0.5, 2],
    scalar: [-1, 0.5, 2],
    period: [0, 1.5, -1],
    gamma: [0, -1],
    floor: [-1e-9],
    floorRatio: [0, -1],
    sparsity: [-1e-9, 1],
    drop: [-1e-9, 1],
    rank: name.startsWith("su") && name !== "subzero" ? [-1, 1.5] : [0, -1, 1.5],
    refreshEvery: [0, 1.5],
    chooseEvery: [0, 1.5],
    anchorRate: [0, -1],
    window: [-1, 0.5],
    anneal: [0.99],
    alpha: [0, -1],
    most: [0, 1.5],
    subset: [0.5],
  };
  const refusal = (option: string) =>
    expect.objectContaining({
      ...{ name: "ZerothError", kind: "usage" },
      message: expect.stringMatching(new RegExp(`^The optimizer ${name} does not take these options\\.\n.*${option}`)),
    });
  test("refuses hyperparameters out of range, and unknown ones, by their names", () => {
    const options = Object.keys(optimizers[name].hyperparameters);
    expect(Object.keys(outside)).toEqual(expect.arrayContaining(options));
    for (const option of options) {
      const nonsense = [Number.NaN, Number.POSITIVE_INFINITY, "0.1", null, true, [0]];
      for (const value of [...nonsense, ...outside[option]!])
        expect(() => optimizers[name].configure({ [option]: value }), `${option} = ${value}`).toThrow(refusal(option));
    }
    expect(() => optimizers[name].configure({ learningRat: 1 })).toThrow(refusal("learningRat"));
    fc.assert(
      fc.property(
        fc.dictionary(
          fc.oneof(fc.constantFrom(...options), fc.string()),
          fc.oneof(fc.double(), fc.nat(5), fc.jsonValue()),
        ),
        (given) => {
          try {
            optimizers[name].configure(given);
            expect(Object.keys(given).every((option) => options.includes(option))).toBe(true);
            expect(Object.values(given).every(Number.isFinite)).toBe(true);
          } catch (error) {
            if (!(error instanceof ZerothError)) throw error;
            expect(error.kind).toBe("usage");
            expect(Object.keys(given).some((option) => error.message.includes(option))).toBe(true);
          }
        },
      ),
    );
  });

  const shapes: Readonly<Record<string, readonly [Quadratic, Problem["parts"]]>> = {
    "a dense one": [dense(12), [{ name: "x", shape: [3, 4] }]],
    "one of condition 100": [diagonal([100, 30, 10, 10, 3, 3, 1, 1]), [{ name: "x", shape: [2, 4] }]],
    "a model's": [dense(24), problems.model.parts],
  };
  test.each(Object.entries(shapes))("finds the minimum of a quadratic: %s", async (_, [q, parts]) => {
    const problem = quadraticOf(q, parts);
    const best = lossOf(q, minimumOf(q));
    const excess = (x: ArrayLike<number>) => (lossOf(q, x) - best) / (lossOf(q, problem.start) - best);
    const left = async (learningRate: number): Promise<number> => {
      const tried: Partial<Setup> = { problem, learningRate, epsilon: 1e-3, queries: 4, steps: 250 };
      const lab = openLab(setup(name, { ...tried, hyperparameters: shortened(name) }));
      let memory: unknown = lab.stepper.estimator.initial;
      for (let step = 0; step < 250; step++) {
        const taken = await lab.step(step, memory);
        if (taken.record.refused) return Number.POSITIVE_INFINITY;
        memory = taken.memory;
        const now = step % 10 === 0 ? excess(lab.weights()) : 1;
        if (!(now < 20) || now < 0.05) return now;
      }
      return excess(lab.weights());
    };
    let least = 1;
    for (const learningRate of [3e-2, 3e-3, 3e-1, 3e-4, 3, 10]) {
      least = Math.min(least, await left(learningRate));
      if (least < 0.05) return;
    }
    expect(least).toBeLessThan(0.05);
  });
});

/** Subspaces that are left often enough to see all of a small problem, and no part at rest for good. */
function shortened(name: (typeof names)[number]): Readonly<Record<string, number>> {
  const short = { refreshEvery: 10, chooseEvery: 20, sparsity: 0, anchorRate: 1 };
  const own = optimizers[name].hyperparameters;
  return Object.fromEntries(Object.entries(short).filter(([option]) => option in own));
}
