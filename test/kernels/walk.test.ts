import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { floatsOf } from "../../src/kernels/arena.js";
import { type Expr, input, scalar, sqrt } from "../../src/kernels/expr.js";
import { type Deed, planOf, ruleOf } from "../../src/kernels/plan.js";
import type { Job, Op, Program, Term } from "../../src/kernels/program.js";
import { referenceWalker } from "../../src/kernels/reference-walk.js";
import { wasmWalker } from "../../src/kernels/walk.js";
import { tensorKey } from "../../src/random/key.js";
import { fillNoise } from "../../src/random/noise.js";
import { bitsOf, jobOf, key, names, noises, opsOf, programOf, type rules, scalars, values } from "./tensors.js";

const gaussian = { distribution: "gaussian" } as const;
const signs = { distribution: "rademacher" } as const;
const sgd = programOf("sgd", gaussian);
const curved = programOf("curved", gaussian);

const update = (gradient: readonly Term[], more: Partial<Extract<Op, { kind: "update" }>> = {}): Op => ({
  ...{ kind: "update", gradient, curvature: [], scalars, step: 0 },
  ...more,
});
const actionsOf = (program: Program, ops: readonly Op[]) =>
  planOf(program, ops).passes.flatMap(({ deeds }) =>
    deeds.filter((deed): deed is Extract<Deed, { kind: "rule" }> => deed.kind === "rule"),
  );

/** Rows and columns about the sizes of vectors and kernels' groups. */
const small = fc.constantFrom<readonly [number, number]>(
  ...([
    [0, 1],
    [0, 5],
    [1, 1],
    [3, 1],
    [1, 16],
    [17, 1],
    [7, 73],
    [27, 19],
    [2047, 1],
    [1, 2048],
    [683, 3],
    [50, 101],
  ] as const),
);
/** About a tile of 16,384 elements and more, whose ends fall within rows. */
const large = fc.constantFrom<readonly [number, number]>(
  ...([
    [16_383, 1],
    [1, 16_385],
    [3, 7_001],
    [131, 251],
  ] as const),
);

const agree = (
  runs: number,
  seed: number,
  sizes: typeof small,
  most: number,
  check: (program: Program, fresh: () => Job) => void,
) =>
  fc.assert(
    fc.property(names, noises, sizes, opsOf(most), (name, noise, size, ops) =>
      check(programOf(name, noise), () => jobOf(name, size, ops)),
    ),
    { numRuns: runs, seed },
  );
const asReference = (program: Program, fresh: () => Job) => {
  const [fast, plain] = [fresh(), fresh()];
  wasmWalker(program).walk(fast);
  referenceWalker(program).walk(plain);
  // One NaN is as good as another: they would prove nothing. Of no elements there is no mean.
  const { weight, states } = plain.tensor;
  if (weight.length > 0)
    for (const slab of [weight, ...states]) expect(floatsOf(slab).every(Number.isFinite)).toBe(true);
  expect(bitsOf(fast)).toEqual(bitsOf(plain));
};
const asOneByOne = (program: Program, fresh: () => Job) => {
  const walker = wasmWalker(program);
  const [together, apart] = [fresh(), fresh()];
  walker.walk(together);
  for (const op of together.ops) walker.walk({ ...apart, ops: [op] });
  expect(bitsOf(apart)).toEqual(bitsOf(together));
};

describe("walks", () => {
  it("have the bits of the reference, whatever the program, the noise, the operations and the size", () => {
    agree(120, 1, small, 6, asReference);
  });

  it("have the bits of the reference where tiles end within rows", () => {
    agree(8, 2, large, 4, asReference);
  });

  it("give the same bits for many operations in one walk and for many walks of one operation", () => {
    agree(120, 3, small, 8, asOneByOne);
    agree(24, 4, large, 8, asOneByOne);
  });

  it("are what their definition says, worked by hand", () => {
    const f = Math.fround;
    const walker = wasmWalker(programOf("sgd", signs));
    const job = jobOf("sgd", [700, 1], [{ kind: "perturb", key: key(1), scale: 0.1 }]);
    walker.walk(job);
    const moved = floatsOf(job.tensor.weight);
    const start = values(700);
    const directions = start.map((value, i) =>
      moved[i] === f(value + f(0.1)) ? 1 : moved[i] === f(value - f(0.1)) ? -1 : 0,
    );
    expect(directions.every((sign) => sign !== 0)).toBe(true);
    expect(new Set(directions)).toEqual(new Set([1, -1]));

    const updated = jobOf("sgd", [700, 1], [update([{ key: key(1), scale: 0.3 }])]);
    walker.walk(updated);
    const expected = start.map((value, i) => f(f(value * f(0.99)) - f(f(0.01) * f(f(0.3) * (directions[i] ?? 0)))));
    expect(floatsOf(updated.tensor.weight)).toEqual(expected);
  });

  it("sum over rows, columns and the whole as their definition says, worked by hand", () => {
    const f = Math.fround;
    const [rows, columns] = [5, 7];
    const job = jobOf("factored", [rows, columns], [update([], { curvature: [{ key: key(2), scale: 0.7 }] })]);
    const [row = [], column = [], [mean = 0] = []] = job.tensor.states.map((slab) => floatsOf(slab).slice());
    wasmWalker(programOf("factored", gaussian)).walk(job);
    const z = new Float32Array(rows * columns);
    fillNoise("gaussian", tensorKey(key(2), job.tensor.id), 0, z);
    const estimate = z.map((value, i) => {
      const h = f(f(row[Math.floor(i / columns)]! * column[i % columns]!) / mean);
      return f(h * f(f(0.7) * f(value * value)));
    });
    const meanOf = (of: Float32Array) => f(of.reduce((sum, value) => sum + value, 0) / of.length);
    const fresh = (old: number, by: number) => f(f(f(0.9) * old) + f(f(1e-3) * by));
    const [newRow, newColumn, newMean] = job.tensor.states.map((slab) => [...floatsOf(slab)]);
    const rowAt = (i: number) => estimate.slice(i * columns, (i + 1) * columns);
    expect(newRow).toEqual([...row].map((old, i) => fresh(old, meanOf(rowAt(i)))));
    const columnAt = (j: number) => estimate.filter((_, i) => i % columns === j);
    expect(newColumn).toEqual([...column].map((old, j) => fresh(old, meanOf(columnAt(j)))));
    expect(newMean).toEqual([fresh(mean, meanOf(estimate))]);
  });

  it("leave out of noise what a plane or a mask leaves out, and mark by magnitude", () => {
    const masked = { ...signs, plane: true, mask: { sparsity: 0.5, interval: 4 } };
    const ops: readonly Op[] = [{ kind: "mark" }, { kind: "perturb", key: key(6), scale: 0.25 }];
    const [job, dense] = [jobOf("sgd", [900, 1], ops), jobOf("sgd", [900, 1], ops)];
    wasmWalker(programOf("sgd", masked)).walk(job);
    wasmWalker(programOf("sgd", signs)).walk(dense);
    const [moved, all, start] = [floatsOf(job.tensor.weight), floatsOf(dense.tensor.weight), values(900)];
    const isSmall = start.map((value) => (Math.abs(value) <= Math.fround(0.6) ? 1 : 0));
    let both = 0;
    moved.forEach((value, i) => {
      expect([start[i], all[i]]).toContain(value);
      if (value === start[i]) return;
      expect(isSmall[i]).toBe(1);
      both++;
    });
    const inPlane = isSmall.reduce((sum, bit) => sum + bit, 0);
    // Half of what is in the plane, within four standard deviations.
    expect(Math.abs(both - inPlane / 2)).toBeLessThan(4 * Math.sqrt(inPlane / 4));
  });

  it("count the noise that moves, and sum its squares", () => {
    const masked = { ...gaussian, mask: { sparsity: 0.9, interval: 1 } };
    const job = jobOf("sgd", [20_000, 1], [{ kind: "norm", key: key(3) }]);
    wasmWalker(programOf("sgd", masked)).walk(job);
    const [squares = 0, count = 0] = new Float64Array(job.tensor.total!.arena.buffer, job.tensor.total!.offset, 2);
    expect(Math.abs(count - 2000)).toBeLessThan(4 * Math.sqrt(1800));
    expect(Math.abs(squares - count)).toBeLessThan(4 * Math.sqrt(2 * count));
    const noise = new Float32Array(20_000);
    const moving = jobOf("sgd", [20_000, 1], [{ kind: "perturb", key: key(3), scale: 1 }]);
    floatsOf(moving.tensor.weight).fill(0);
    wasmWalker(programOf("sgd", masked)).walk(moving);
    noise.set(floatsOf(moving.tensor.weight));
    expect(squares).toBe(noise.reduce((sum, value) => sum + value * value, 0));
    expect(count).toBe(noise.filter((value) => value !== 0).length);
  });

  it("start states of lines from zero whenever lines are chosen, and keep them in between", () => {
    const walker = wasmWalker(programOf("rowLines", gaussian));
    const job = jobOf("rowLines", [12, 40], []);
    const momentum = () => floatsOf(job.tensor.states[0]!).slice();
    const step = (at: number) => walker.walk({ ...job, ops: [update([], { step: at })] });
    const decayed = (by: Float32Array, times: number): Float32Array =>
      times === 0
        ? by
        : decayed(
            by.map((value) => Math.fround(Math.fround(0.9) * value)),
            times - 1,
          );
    floatsOf(job.tensor.states[0]!).fill(0.5);
    step(1);
    step(2);
    expect(momentum()).toEqual(decayed(new Float32Array(3 * 40).fill(0.5), 2));
    step(3);
    expect(momentum()).toEqual(new Float32Array(3 * 40));
  });

  it("read the same scalars by name, whatever their order and whatever else is given", () => {
    const gradient = [{ key: key(1), scale: 0.3 }];
    const walker = wasmWalker(sgd);
    const walked = (given: Readonly<Record<string, number>>) => {
      const job = jobOf("sgd", [100, 1], [update(gradient, { scalars: given })]);
      walker.walk(job);
      return bitsOf(job);
    };
    const once = walked({ decay: 0.5, rate: 0.25 });
    expect(walked({ rate: 0.25, decay: 0.5 })).toEqual(once);
    expect(walked({ spare: 0.25, rate: 0.25, decay: 0.5 })).toEqual(once);
    expect(walked({ rate: 0.5, decay: 0.25 })).not.toEqual(once);
  });

  it("treat an empty gradient as zero", () => {
    const job = jobOf("curved", [100, 1], [update([])]);
    wasmWalker(curved).walk(job);
    expect(floatsOf(job.tensor.states[1]!)).toEqual(floatsOf(jobOf("curved", [100, 1], []).tensor.states[1]!));
  });

  it("draw noise once for neighbouring operations with one key, and fold a single term into the rule", () => {
    const ops: readonly Op[] = [
      { kind: "perturb", key: key(1), scale: 1e-3 },
      update([{ key: key(1), scale: 2 }]),
      { kind: "perturb", key: key(2), scale: 1e-3 },
    ];
    expect(planOf(sgd, ops).keys).toEqual([key(1), key(2)]);
    const [action, ...others] = actionsOf(sgd, ops);
    expect(others).toEqual([]);
    expect(action?.instructions.map(({ name, key: drawn }) => [name, drawn])).toEqual([
      ["perturb", 0],
      ["apply term zero", 0],
      ["perturb", 1],
    ]);
    expect(action?.scalars.filter((value) => value === Math.fround(1e-3))).toHaveLength(1);
  });

  it("join as many operations as there is room for their noise", () => {
    const many = Array.from({ length: 11 }, (_, i): Op => ({ kind: "perturb", key: key(i), scale: 1e-3 }));
    expect(actionsOf(sgd, many).map(({ keys: drawn }) => drawn)).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9, 10],
    ]);
    const one = Array.from({ length: 20 }, (): Op => ({ kind: "perturb", key: key(1), scale: 1e-3 }));
    expect(actionsOf(sgd, one).map(({ instructions }) => instructions.length)).toEqual([8, 8, 4]);
  });

  it("keep a sum only where it is read later", () => {
    const terms = Array.from({ length: 6 }, (_, i) => ({ key: key(i), scale: 1 }));
    const actions = actionsOf(sgd, [update(terms)]);
    expect(actions.map((action) => Object.keys(ruleOf(sgd, action)))).toEqual([["g"], ["weight"]]);
  });

  it("pass once over a tensor, and once more for each update that sums", () => {
    const step: readonly Op[] = [
      { kind: "mark" },
      { kind: "perturb", key: key(1), scale: 1e-3 },
      { kind: "perturb", key: key(1), scale: -2e-3 },
      { kind: "perturb", key: key(1), scale: 1e-3 },
      update([{ key: key(1), scale: 2 }]),
    ];
    const passes = (name: keyof typeof rules) => planOf(programOf(name, gaussian), [...step, ...step]).passes.length;
    expect([passes("sgd"), passes("curved"), passes("chunked"), passes("factored")]).toEqual([1, 1, 3, 3]);
  });

  it.each<[string, Partial<Program>, RegExp]>([
    ["a perturbation of an unknown state", { direction: input("v") }, /perturbation reads "v".*z, weight, h, m/],
    ["a perturbation that reads a scalar", { direction: scalar("rate") }, /perturbation reads the scalar "rate"/],
    ["a rule that reads the noise itself", { apply: { weight: input("z") } }, /rule reads "z".*weight, g, zz, h, m/],
    ["a rule that reads lines where there are none", { apply: { weight: input("selected") } }, /rule reads "selected"/],
    [
      "a rule that writes what is not there",
      { apply: { velocity: input("g") } },
      /rule writes "velocity".*weight, h, m/,
    ],
    ["a sum of noise", { reduce: { s: { of: input("z"), like: "h" } } }, /sum reads "z".*weight, g, zz, h, m/],
    ["a sum like no state", { reduce: { s: { of: input("g"), like: "v" } } }, /sum is laid out like "v".*h, m/],
    ["a summary of weights", { summaries: { h: input("weight") } }, /summary reads "weight".*h, m/],
    ["a summary of what is no state", { summaries: { v: input("h") } }, /rule writes "v".*weight, h, m/],
  ])("refuse %s by name", (_, change, message) => {
    expect(() => wasmWalker({ ...curved, ...change })).toThrow(message);
    expect(() => referenceWalker({ ...curved, ...change })).toThrow(message);
  });

  it("refuse an update without a scalar that the rule, a sum or a summary reads", () => {
    for (const [name, missing] of [
      ["sgd", "decay"],
      ["chunked", "smoothing"],
      ["factored", "smoothing"],
    ] as const) {
      const { [missing]: _, ...others } = scalars;
      const job = jobOf(name, [10, 1], [update([], { scalars: others })]);
      expect(() => wasmWalker(programOf(name, gaussian)).walk(job)).toThrow(`scalar "${missing}"`);
    }
  });

  it("refuse states of another number or size than the program's", () => {
    const { tensor, ops } = jobOf("curved", [10, 1], []);
    const other = jobOf("curved", [9, 1], []).tensor.states;
    const walker = wasmWalker(curved);
    for (const states of [tensor.states.slice(1), [...tensor.states.slice(1), other[0]!]])
      expect(() => walker.walk({ tensor: { ...tensor, states }, ops })).toThrow(RangeError);
  });

  it("compile a rule whose expression is written once for two outputs to one computation", () => {
    const shared: Expr = sqrt(input("h"));
    const program: Program = { ...curved, apply: { h: shared, m: shared } };
    const job = jobOf("curved", [40, 1], [update([], { scalars: {} })]);
    wasmWalker(program).walk(job);
    const [, h, m] = bitsOf(job);
    expect(h).toBe(m);
  });
});
