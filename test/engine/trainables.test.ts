import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { magnitudeBelow } from "../../src/engine/quantile.js";
import type { Point } from "../../src/estimator/estimator.js";
import { floatsOf } from "../../src/kernels/arena.js";
import { bitsOf, copyOf, flat, key, liveOf, methodOf, movedBetween, open, statesOf, tensorsOf } from "./trained.js";

const places = ["in-place", "copies"] as const;
/** Every second and third element of each tensor. */
const masks = new Map(
  tensorsOf(3).map(({ name, shape }) => {
    const size = shape.reduce((product, dim) => product * dim, 1);
    return [name, Uint32Array.from([...Array(size).keys()].filter((i) => i % 6 === 2 || i % 6 === 3))] as const;
  }),
);
const subspaces = {
  dense: {},
  layers: { subspace: "layers", hyperparameters: { drop: 0.4 } },
  random: { subspace: "random", hyperparameters: { sparsity: 0.6, interval: 1 } },
  "random for 40 steps": { subspace: "random", hyperparameters: { sparsity: 0.6, interval: 40 } },
  magnitude: { subspace: "magnitude", hyperparameters: { sparsity: 0.7 } },
  stored: { subspace: "stored", mask: "mask.safetensors" },
} as const;
type Name = keyof typeof subspaces;
const names = Object.keys(subspaces) as readonly Name[];
const masked = names.filter((name) => name !== "dense" && name !== "layers");
const openIn = (
  name: Name,
  placement: (typeof places)[number],
  more: Parameters<typeof open>[1] = {},
  several = false,
) => open(methodOf(placement), { ...subspaces[name], ...more }, { masks, several });
type Opened = ReturnType<typeof openIn>;

const weightsAt = ({ trainables }: Opened, ...points: readonly Point[]) => copyOf(trainables.at(points));
const update = ({ trainables }: Opened, gradient: Point, learningRate: number, step: number, block?: number) =>
  trainables.update({
    update: { gradient, curvature: [], ...(block === undefined ? {} : { block }) },
    scalars: { learningRate },
    step,
  });
/** A unit in the last place of an fp32 number. */
const unit = (value: number): number => 2 ** (Math.floor(Math.log2(Math.max(Math.abs(value), 2 ** -126))) - 23);
const greatestGap = (a: ReadonlyMap<string, Float32Array>, b: ReadonlyMap<string, Float32Array>): number => {
  const other = flat(b);
  return flat(a).reduce((worst, value, i) => Math.max(worst, Math.abs(value - other[i]!)), 0);
};

const keys = fc.record({ step: fc.nat(2), query: fc.nat(2) }).map(({ step, query }) => key(step, query));
/** One term a key: two of the same are never asked for. */
const point: fc.Arbitrary<Point> = fc.uniqueArray(
  fc.record({ key: keys, scale: fc.double({ min: -0.1, max: 0.1, noNaN: true }) }),
  { maxLength: 3, selector: ({ key: { step, query } }) => `${step}/${query}` },
);

describe("weights in place and in copies", () => {
  it("are the same at any points in any order, to rounding, and after an update", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...names),
        fc.constantFrom("gaussian" as const, "rademacher" as const, "sphere" as const),
        fc.array(point, { minLength: 1, maxLength: 6 }),
        point,
        (name, perturbation, points, gradient) => {
          const [place, copies] = places.map((placement) => openIn(name, placement, { perturbation }));
          // Below 4 in size: each operation is off by half of 2^-22 at most, and the walk back is as long as the one there.
          let operations = 1;
          for (const to of points) {
            operations += 2 * to.length;
            expect(greatestGap(weightsAt(place!, to), weightsAt(copies!, to))).toBeLessThan(operations * 2 ** -22);
          }
          for (const opened of [place!, copies!]) update(opened, gradient, 0.5, 1);
          expect(greatestGap(liveOf(place!), liveOf(copies!))).toBeLessThan((operations + 1) * 2 ** -22);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("are, in copies, the same bits for several points together as for one after another", () => {
    fc.assert(
      fc.property(fc.constantFrom(...names), fc.array(point, { minLength: 1, maxLength: 8 }), (name, points) => {
        const [together, apart] = [openIn(name, "copies", {}, true), openIn(name, "copies", {}, true)];
        const all = weightsAt(together, ...points);
        for (const [i, to] of points.entries())
          for (const [tensor, values] of weightsAt(apart, to))
            expect(all.get(tensor)!.slice(i * values.length, (i + 1) * values.length)).toEqual(values);
      }),
      { numRuns: 25 },
    );
  });

  it("are where they were, in copies to the bit and in place within three units in the last place", () => {
    for (const name of names) {
      const to: Point = [{ key: key(3), scale: 0.03 }];
      const back: Point = [{ key: key(3), scale: -0.03 }];
      const copies = openIn(name, "copies");
      const start = liveOf(copies);
      weightsAt(copies, to);
      weightsAt(copies, back);
      expect(bitsOf(weightsAt(copies, []))).toEqual(bitsOf(start));

      const place = openIn(name, "in-place");
      const [plus, minus] = [flat(weightsAt(place, to)), flat(weightsAt(place, back))];
      const before = flat(start);
      flat(weightsAt(place, [])).forEach((value, i) => {
        const largest = Math.max(Math.abs(plus[i]!), Math.abs(minus[i]!), Math.abs(before[i]!));
        expect(Math.abs(value - before[i]!)).toBeLessThanOrEqual(3 * unit(largest));
      });
    }
  });
});

describe("masks", () => {
  const to = (step: number, sign: number): Point => [{ key: key(step), scale: 0.25 * sign }];

  it.each(masked.flatMap((name) => places.map((placement) => [name, placement] as const)))(
    "are the same in all four walks of a step: %s, %s",
    (name, placement) => {
      // Signs move what they reach, always.
      const opened = openIn(name, placement, { perturbation: "rademacher" });
      for (let step = 0; step < 3; step++) {
        const start = liveOf(opened);
        const plus = movedBetween(start, weightsAt(opened, to(step, 1)));
        const minus = movedBetween(start, weightsAt(opened, to(step, -1)));
        expect(minus).toBe(plus);
        const share = (plus.match(/1/g) ?? []).length / plus.length;
        expect(share).toBeGreaterThan(0.2);
        expect(share).toBeLessThan(0.5);
        // Restored, nothing but what was perturbed may be off.
        const off = movedBetween(start, weightsAt(opened, []));
        expect([...off].every((bit, i) => bit <= plus[i]!)).toBe(true);
        update(opened, [{ key: key(step), scale: 3 }], 0.005, step);
        expect(movedBetween(start, liveOf(opened))).toBe(plus);
      }
    },
  );

  it.each(places)("leave an element at rest its bits for ever: %s", (placement) => {
    for (const name of ["random for 40 steps", "magnitude", "stored"] as const) {
      const opened = openIn(name, placement, { perturbation: "rademacher", optimizer: "zo-momentum" });
      const start = liveOf(opened);
      const moved = [...movedBetween(start, weightsAt(opened, to(0, 1)))];
      for (let step = 0; step < 40; step++) {
        weightsAt(opened, to(step, 1));
        weightsAt(opened, to(step, -1));
        update(opened, [{ key: key(step), scale: Math.cos(step) }], 0.01, step);
      }
      const ever = [...movedBetween(start, liveOf(opened))];
      // All that moved at first, and under a plane of magnitudes nothing else ever after: what grows too large stays.
      expect(ever).toEqual(moved);
      expect(new Set(ever)).toEqual(new Set(["0", "1"]));
    }
  });

  it("are drawn anew every interval", () => {
    const opened = openIn("random", "copies", {
      hyperparameters: { sparsity: 0.6, interval: 4 },
      perturbation: "rademacher",
    });
    const start = liveOf(opened);
    const sets = Array.from({ length: 12 }, (_, step) => movedBetween(start, weightsAt(opened, to(step, 1))));
    expect(sets.map((set) => sets.indexOf(set))).toEqual([0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8]);
  });

  it("are the elements that a stored mask lists, and none of a tensor that it does not name", () => {
    const listed = new Map([...masks, ["embed.weight", new Uint32Array()] as const]);
    const opened = open(methodOf("copies"), { ...subspaces.stored, perturbation: "rademacher" }, { masks: listed });
    const start = liveOf(opened);
    const there = weightsAt(opened, to(0, 1));
    for (const [name, values] of there) {
      const before = start.get(name)!;
      const moved = [...values.keys()].filter((i) => values[i] !== before[i]);
      expect(moved).toEqual([...listed.get(name)!]);
    }
  });
});

describe("planes of magnitude", () => {
  it.each(places)("are those of the weights before they are perturbed, step after step: %s", (placement) => {
    const opened = openIn("magnitude", placement, { perturbation: "rademacher" });
    const { memory } = opened;
    const first = liveOf(opened);
    const thresholds = new Map([...first].map(([name, values]) => [name, magnitudeBelow(values.slice(), 1 - 0.7)]));
    const smallOf = (values: ReadonlyMap<string, Float32Array>) =>
      [...values]
        .flatMap(([name, part]) => Array.from(part, (value) => (Math.abs(value) <= thresholds.get(name)! ? "1" : "0")))
        .join("");
    const planes = () =>
      memory.slots
        .flatMap(({ tensor: { weight, plane } }) => {
          const words = new Uint32Array(plane!.arena.buffer, plane!.offset, plane!.length);
          return Array.from({ length: weight.length }, (_, i) => (words[i >> 5]! >>> (i & 31)) & 1);
        })
        .join("");
    const seen: string[] = [];
    for (let step = 0; step < 4; step++) {
      const live = liveOf(opened);
      const small = smallOf(live);
      seen.push(small);
      // Farther than any threshold, so that a plane of perturbed weights would be another.
      for (const sign of [1, -1]) {
        const there = weightsAt(opened, [{ key: key(step), scale: 0.4 * sign }]);
        expect(smallOf(there)).not.toBe(small);
        expect(planes()).toBe(small);
        expect(movedBetween(live, there)).toBe(small);
      }
      update(opened, [{ key: key(step), scale: 1 }], 0.05, step);
    }
    // The weights moved, and their planes with them: thresholds did not.
    expect(new Set(seen).size).toBe(4);
    expect(memory.slots.map(({ name, tensor: { threshold } }) => [name, threshold])).toEqual([...thresholds]);
  });

  it("hold for every point of a step, however many lie between two updates", () => {
    const [place, copies] = places.map((placement) => openIn("magnitude", placement, { perturbation: "rademacher" }));
    for (const opened of [place!, copies!]) {
      const live = liveOf(opened);
      const sets = Array.from({ length: 6 }, (_, query) =>
        movedBetween(live, weightsAt(opened, [{ key: key(0, query), scale: 0.4 }])),
      );
      expect(new Set(sets).size).toBe(1);
    }
  });
});

describe("noise on the sphere", () => {
  const lengthOf = (a: ReadonlyMap<string, Float32Array>, b: ReadonlyMap<string, Float32Array>) => {
    const other = flat(b);
    const differences = Array.from(flat(a), (value, i) => value - other[i]!);
    return {
      length: Math.sqrt(differences.reduce((sum, value) => sum + value * value, 0)),
      moved: differences.filter((value) => value !== 0).length,
    };
  };

  it.each(names)("has the length √d over all the elements that move: %s", (name) => {
    const opened = openIn(name, "copies", { perturbation: "sphere" });
    const start = liveOf(opened);
    for (let step = 0; step < 5; step++) {
      const { length, moved } = lengthOf(weightsAt(opened, [{ key: key(step), scale: 1 }]), start);
      expect(moved).toBeGreaterThan(100);
      if (name === "dense") expect(moved).toBe(flat(start).length);
      else expect(moved).toBeLessThan(flat(start).length);
      expect(Math.abs(length / Math.sqrt(moved) - 1)).toBeLessThan(1e-6);
    }
  });

  it("is Gaussian noise times one number for all tensors, and the step is along it", () => {
    for (const placement of places) {
      const [sphere, gaussian] = (["sphere", "gaussian"] as const).map((perturbation) =>
        openIn("dense", placement, { perturbation }),
      );
      const start = flat(liveOf(sphere!));
      const along = (opened: Opened) =>
        flat(weightsAt(opened, [{ key: key(1), scale: 1 }])).map((value, i) => value - start[i]!);
      const [on, off] = [along(sphere!), along(gaussian!)];
      const radius =
        on.reduce((sum, value, i) => sum + value * off[i]!, 0) / off.reduce((sum, value) => sum + value * value, 0);
      expect(Math.abs(radius - 1)).toBeGreaterThan(1e-3);
      on.forEach((value, i) => {
        expect(Math.abs(value - radius * off[i]!)).toBeLessThan(1e-5);
      });
      update(sphere!, [{ key: key(1), scale: 2 }], 0.1, 0);
      const after = flat(liveOf(sphere!));
      after.forEach((value, i) => {
        expect(Math.abs(start[i]! - value - 0.2 * on[i]!)).toBeLessThan(1e-5);
      });
    }
  });

  it("has a block's own length where a term moves one block", () => {
    const opened = openIn("dense", "copies", { perturbation: "sphere", blocks: "transformer" });
    const start = liveOf(opened);
    for (let block = 0; block < 5; block++) {
      const { length, moved } = lengthOf(weightsAt(opened, [{ key: key(2), scale: 1, block }]), start);
      const own = opened.memory.slots.filter((slot) => slot.block === block);
      expect(moved).toBe(own.reduce((sum, { tensor }) => sum + tensor.weight.length, 0));
      expect(Math.abs(length / Math.sqrt(moved) - 1)).toBeLessThan(1e-6);
    }
  });
});

describe("blocks", () => {
  const blocksOf = (opened: Opened) => new Map(opened.memory.slots.map(({ name, block }) => [name, block!]));
  const changed = (a: ReadonlyMap<string, Float32Array>, b: ReadonlyMap<string, Float32Array>, opened: Opened) => {
    const [x, y] = [bitsOf(a), bitsOf(b)];
    const blocks = blocksOf(opened);
    return [...new Set([...x].filter(([name, bits]) => y.get(name) !== bits).map(([name]) => blocks.get(name)))];
  };

  it.each(places)("move alone, with one key for all of them: %s", (placement) => {
    const opened = openIn("dense", placement, { blocks: "transformer", perturbation: "rademacher" });
    const start = liveOf(opened);
    const there = (block: number, sign = 1): Point => [{ key: key(0), scale: 0.25 * sign, block }];
    expect(new Set(blocksOf(opened).values())).toEqual(new Set([0, 1, 2, 3, 4]));
    const others = (values: ReadonlyMap<string, Float32Array>, block: number) =>
      new Map([...values].filter(([name]) => blocksOf(opened).get(name) !== block));
    for (const block of [0, 3, 1]) {
      const plus = weightsAt(opened, there(block));
      expect(changed(start, plus, opened)).toContain(block);
      // In place, what was there before is off by rounding.
      expect(greatestGap(others(plus, block), others(start, block))).toBeLessThan(3 * 2 ** -23);
      weightsAt(opened, there(block, -1));
    }
    const live = liveOf(opened);
    expect(greatestGap(live, start)).toBeLessThan(3 * 2 ** -23);
    for (const block of [2, 0]) {
      const before = liveOf(opened);
      update(opened, there(block), 0.5, 0, block);
      expect(changed(before, liveOf(opened), opened)).toEqual([block]);
    }
  });

  it("leave the states of others alone", () => {
    const opened = openIn("dense", "in-place", { blocks: "attention-mlp", optimizer: "zo-adam" });
    const before = bitsOf(statesOf(opened));
    const scalars = { learningRate: 0.1, firstCorrection: 10, secondCorrection: 1000 };
    const block = opened.memory.slots.find(({ name }) => name === "layers.1.mlp.weight")!.block!;
    const gradient = [{ key: key(0), scale: 2, block }];
    opened.trainables.update({ update: { gradient, curvature: [], block }, scalars, step: 0 });
    opened.trainables.settle();
    const moved = [...bitsOf(statesOf(opened))]
      .filter(([name, bits]) => before.get(name) !== bits)
      .map(([name]) => name);
    expect(moved).toEqual([
      "layers.1.mlp.weight#0",
      "layers.1.mlp.weight#1",
      "layers.1.norm.weight#0",
      "layers.1.norm.weight#1",
    ]);
  });
});

describe("blocks of the model at rest", () => {
  it.each(places)("keep every bit through a step, and others move: %s", (placement) => {
    const opened = openIn("layers", placement, { hyperparameters: { drop: 0.7 } });
    const atRest = (a: ReadonlyMap<string, Float32Array>, b: ReadonlyMap<string, Float32Array>) => {
      const [x, y] = [bitsOf(a), bitsOf(b)];
      return [...x].filter(([name, bits]) => y.get(name) === bits).map(([name]) => name);
    };
    const sets: string[] = [];
    for (let step = 0; step < 6; step++) {
      const start = liveOf(opened);
      const resting = atRest(start, weightsAt(opened, [{ key: key(step), scale: 0.1 }]));
      // Two of three blocks of three tensors.
      expect(resting).toHaveLength(6);
      expect(resting.every((name) => name.startsWith("layers."))).toBe(true);
      expect(atRest(start, weightsAt(opened, [{ key: key(step), scale: -0.1 }]))).toEqual(resting);
      update(opened, [{ key: key(step), scale: 1 }], 0.1, step);
      expect(atRest(start, liveOf(opened))).toEqual(resting);
      sets.push(String(resting));
    }
    expect(new Set(sets).size).toBeGreaterThan(1);
  });
});

it("the live weights are handed out as they are, and points are independent of what was asked before", () => {
  const opened = openIn("dense", "copies");
  const live = opened.trainables.at([[]]);
  expect(live.get("norm.weight")).toBe(opened.memory.weights.get("norm.weight"));
  const to: Point = [{ key: key(1), scale: 0.1 }];
  const first = bitsOf(weightsAt(opened, to));
  weightsAt(opened, [{ key: key(2), scale: 5 }]);
  expect(bitsOf(weightsAt(opened, to))).toEqual(first);
});

it("a walk is forgotten: weights that were written anew are perturbed from where they are", () => {
  for (const name of ["dense", "magnitude"] as const) {
    const [opened, other] = [openIn(name, "in-place"), openIn(name, "in-place")];
    weightsAt(opened, [{ key: key(1), scale: 0.3 }]);
    update(opened, [{ key: key(1), scale: 3 }], 0.1, 0);
    weightsAt(opened, [{ key: key(2), scale: 0.3 }]);
    for (const [i, { tensor }] of opened.memory.slots.entries())
      floatsOf(tensor.weight).set(floatsOf(other.memory.slots[i]!.tensor.weight));
    opened.trainables.forget();
    const to: Point = [{ key: key(5), scale: 0.3 }];
    expect(bitsOf(weightsAt(opened, to))).toEqual(bitsOf(weightsAt(other, to)));
  }
});
