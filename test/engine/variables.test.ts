import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Move, UpdateCall } from "../../src/engine/protocol.js";
import type { Point, Update } from "../../src/estimator/estimator.js";
import { optimizers } from "../../src/optimizer/optimizers.js";
import { withCores } from "../../src/peft/cores.js";
import { bitsOf, copyOf, key, liveOf, methodOf, open, statesOf, tensorsOf } from "./trained.js";

/** What a run did in a step: the points it visited, and its updates; none where the step was refused. */
interface Done {
  readonly points: readonly Point[];
  readonly updates: readonly UpdateCall[];
}

const runs = [
  { optimizer: "mezo" },
  { optimizer: "mezo", hyperparameters: { weightDecay: 0.1, momentum: 0.5 } },
  { optimizer: "sparse-mezo", perturbation: "sphere" },
  { optimizer: "lezo", hyperparameters: { drop: 0.4 } },
  { optimizer: "hizoo", hyperparameters: { smoothing: 1e-3 } },
  { optimizer: "hizoo-l", hyperparameters: { smoothing: 1e-3 } },
  { optimizer: "helene", hyperparameters: { period: 2, floorRatio: 3 } },
  { optimizer: "zo-adam", subspace: "random", hyperparameters: { sparsity: 0.5, interval: 3 } },
  { optimizer: "subset-norm", perturbation: "rademacher" },
  { optimizer: "subspace-momentum", hyperparameters: { rank: 3, chooseEvery: 3 } },
  { optimizer: "subspace-momentum", subspace: "layers", hyperparameters: { rank: 3, chooseEvery: 2, drop: 0.4 } },
  { optimizer: "subset-norm-subspace-momentum", blocks: "transformer", hyperparameters: { rank: 2, chooseEvery: 2 } },
] as const;
type Run = (typeof runs)[number];

const scale = fc.double({ min: -0.05, max: 0.05, noNaN: true });
/** Steps as an estimator of a few queries makes them: to both sides of each, then their update; some are refused. */
const stepsOf = (run: Run): fc.Arbitrary<readonly Done[]> =>
  fc
    .array(fc.record({ scales: fc.array(scale, { minLength: 1, maxLength: 3 }), refused: fc.nat(3) }), {
      ...{ minLength: 1, maxLength: 9 },
    })
    .map((list) =>
      list.map(({ scales, refused }, step): Done => {
        const { bounded: _, ...configured } = optimizers[run.optimizer].configure(
          // Those of the subspace are not the optimizer's own.
          Object.fromEntries(
            Object.entries("hyperparameters" in run ? run.hyperparameters : {}).filter(([name]) =>
              Object.hasOwn(optimizers[run.optimizer].hyperparameters, name),
            ),
          ),
        );
        const blocks = "blocks" in run ? [0, 3] : [undefined];
        const within = (block: number | undefined) => (block === undefined ? {} : { block });
        const points = blocks.flatMap((block) =>
          scales.flatMap((_, query): Point[] =>
            [0.02, -0.02].map((epsilon) => [{ key: key(step, query), scale: epsilon, ...within(block) }]),
          ),
        );
        const updates = blocks.map((block): UpdateCall => {
          const terms = scales.map((by, query) => ({ key: key(step, query), scale: by, ...within(block) }));
          const update: Update = { gradient: terms, curvature: terms, ...within(block) };
          const scalars = configured.scalars({ learningRate: 0.1, step, steps: 9, batchSize: 4, update });
          // In the order of a journal for some steps and as the optimizer gives them for others.
          const named = Object.entries(scalars);
          return { update, step, scalars: Object.fromEntries(step % 2 === 0 ? named : named.reverse()) };
        });
        return { points, updates: refused === 0 ? [] : updates };
      }),
    );

const walked = (opened: ReturnType<typeof open>, steps: readonly Done[], together = 1) => {
  for (const { points, updates } of steps) {
    for (let i = 0; i < points.length; i += together) opened.trainables.at(points.slice(i, i + together));
    for (const call of updates) opened.trainables.update(call);
  }
  return [bitsOf(liveOf(opened)), bitsOf(statesOf(opened))];
};
const movesOf = (steps: readonly Done[]): readonly Move[] =>
  steps.flatMap(({ points, updates }): Move[] => [{ visit: points }, ...updates, { visit: [[]] }]);
const replayed = (opened: ReturnType<typeof open>, steps: readonly Done[]) => {
  opened.replay(movesOf(steps));
  return [bitsOf(liveOf(opened)), bitsOf(statesOf(opened))];
};

describe("variables", () => {
  it.each(runs.map((run) => [JSON.stringify(run), run] as const))(
    "T6: replay to the bit what was done: %s",
    (_, run) => {
      fc.assert(
        fc.property(fc.constantFrom("in-place" as const, "copies" as const), stepsOf(run), (placement, steps) => {
          const live = walked(open(methodOf(placement), run), steps);
          expect(replayed(open(methodOf(placement), run), steps)).toEqual(live);
          // Points of a step in one call, and the same run taken up in the middle.
          if (placement === "copies")
            expect(walked(open(methodOf(placement), run, { several: true }), steps, 8)).toEqual(live);
          const resumed = open(methodOf(placement), run);
          const half = Math.floor(steps.length / 2);
          replayed(resumed, steps.slice(0, half));
          expect(walked(resumed, steps.slice(half))).toEqual(live);
        }),
        { numRuns: 6 },
      );
    },
  );

  it("T7: are moved alike in whatever order tensors come, and in however many arenas they lie", () => {
    for (const run of runs) {
      const [steps = []] = fc.sample(stepsOf(run), { numRuns: 1, seed: 3 });
      // Blocks are counted in the order of the tensors.
      const tensors = "blocks" in run ? tensorsOf(3) : tensorsOf(3).toReversed();
      for (const placement of ["in-place", "copies"] as const) {
        const sorted = ([weights, states]: ReturnType<typeof walked>) => [...weights!, ...states!].sort();
        const usual = sorted(walked(open(methodOf(placement), run), steps));
        expect(sorted(walked(open(methodOf(placement, tensors), run, { threads: 2 }), steps))).toEqual(usual);
      }
    }
  });

  it("rewind to the first bits, and go the same way again", () => {
    for (const run of runs) {
      const [steps = []] = fc.sample(stepsOf(run), { numRuns: 1, seed: 4 });
      for (const placement of ["in-place", "copies"] as const) {
        const opened = open(methodOf(placement), run);
        const start = [bitsOf(liveOf(opened)), bitsOf(statesOf(opened))];
        const first = walked(opened, steps);
        expect(first).not.toEqual(start);
        opened.rewind();
        expect([bitsOf(liveOf(opened)), bitsOf(statesOf(opened))]).toEqual(start);
        expect(walked(opened, steps)).toEqual(first);
      }
    }
  });

  it("rewind a low-rank subspace, its factors and what was folded included", () => {
    for (const kind of ["lozo", "subzero"] as const) {
      const method = withCores(methodOf("in-place"), { kind, rank: 2, refreshEvery: 3 });
      const opened = open(method, { optimizer: kind, hyperparameters: { rank: 2, refreshEvery: 3 } });
      const all = () => bitsOf(copyOf(opened.memory.weights));
      const start = all();
      const go = () => {
        for (let step = 0; step < 8; step++) {
          if (step > 0 && step % 3 === 0) opened.cored!.refresh(step);
          opened.trainables.at([[{ key: key(step), scale: 0.1 }]]);
          const update = { gradient: [{ key: key(step), scale: 0.3 }], curvature: [] };
          opened.trainables.update({ update, scalars: { learningRate: 0.1, core: 1 }, step });
        }
        return all();
      };
      const first = go();
      expect([...first].filter(([name, bits]) => start.get(name) !== bits)).toHaveLength(start.size);
      opened.rewind();
      expect(all()).toEqual(start);
      expect(go()).toEqual(first);
    }
  });

  it("replay a low-rank subspace's refreshes to the bit", () => {
    const method = () => withCores(methodOf("in-place"), { kind: "lozo", rank: 2, refreshEvery: 2 });
    const given = { optimizer: "lozo-m", hyperparameters: { rank: 2, refreshEvery: 2 } };
    const [live, again] = [open(method(), given), open(method(), given)];
    const moves: Move[] = [];
    for (let step = 0; step < 7; step++) {
      const point: Point = [{ key: key(step), scale: 0.1 }];
      const update = { gradient: [{ key: key(step), scale: 0.3 }], curvature: [] };
      const call = { update, scalars: { learningRate: 0.1, core: 1 }, step };
      if (step > 0 && step % 2 === 0) {
        live.cored!.refresh(step);
        moves.push({ refresh: step });
      }
      live.trainables.at([point]);
      live.trainables.update(call);
      moves.push({ visit: [point] }, call, { visit: [[]] });
    }
    again.replay(moves);
    expect(bitsOf(copyOf(again.memory.weights))).toEqual(bitsOf(copyOf(live.memory.weights)));
    expect(bitsOf(statesOf(again))).toEqual(bitsOf(statesOf(live)));
  });
});
