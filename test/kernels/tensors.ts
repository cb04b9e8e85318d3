import { createHash } from "node:crypto";
import fc from "fast-check";
import { allocate, floatsOf } from "../../src/kernels/arena.js";
import { abs, add, constant, div, input, max, mul, scalar, sqrt, sub, where } from "../../src/kernels/expr.js";
import { type Job, type Layout, lengthOf, type Noise, type Op, type Program } from "../../src/kernels/program.js";
import { type Key, tensorId } from "../../src/random/key.js";

/* Programs that between them use all that a program can, tensors for them, and random operations. */

const [weight, g, zz, h, m, v] = ["weight", "g", "zz", "h", "m", "v"].map(input) as [
  ReturnType<typeof input>,
  ReturnType<typeof input>,
  ReturnType<typeof input>,
  ReturnType<typeof input>,
  ReturnType<typeof input>,
  ReturnType<typeof input>,
];
const selected = input("selected");
const descend = (by: Program["direction"]) => sub(mul(weight, scalar("decay")), mul(scalar("rate"), by));
/** Of a statistic whose fresh value is `by`; held above a floor that keeps all numbers far from overflow. */
const smoothed = (state: typeof h, by: typeof h) =>
  max(add(mul(constant(0.9), state), mul(scalar("smoothing"), by)), constant(0.1));

/** A rule, and how its states lie over a matrix. */
export interface Ruled extends Pick<Program, "direction" | "reduce" | "summaries" | "apply" | "lines"> {
  readonly states: Readonly<Record<string, (rows: number, columns: number) => Layout>>;
}

const element = (): Layout => ({ kind: "element" });
const column = (): Layout => ({ kind: "column" });
const perRow = (_: number, columns: number): Layout => ({ kind: "chunk", size: columns });
const whole = (rows: number, columns: number): Layout => ({ kind: "chunk", size: Math.max(1, rows * columns) });
const chunks = (size: number) => (): Layout => ({ kind: "chunk", size });
const linesOf =
  (axis: "row" | "column", most: number) =>
  (rows: number, columns: number): Layout => ({
    kind: "lines",
    axis,
    count: Math.min(most, axis === "row" ? rows : columns),
  });

const factored = div(mul(input("row"), input("column")), input("mean"));
const fresh = smoothed(h, zz);
const onLines = (axis: "row" | "column", most: number, interval: number): Ruled => {
  const next = add(mul(constant(0.9), m), mul(constant(0.1), g));
  return {
    direction: input("z"),
    apply: { m: next, weight: descend(where({ eq: [selected, constant(1)] }, mul(next, scalar("correction")), g)) },
    lines: { interval, seed: 77n },
    states: { m: linesOf(axis, most) },
  };
};

export const rules = {
  sgd: { direction: input("z"), apply: { weight: descend(g) }, states: {} },
  /** States of every element, read by the direction and by each other. */
  curved: {
    direction: div(input("z"), sqrt(h)),
    apply: { h: fresh, m: add(m, g), weight: descend(where({ lt: [m, g] }, div(g, sqrt(fresh)), m)) },
    states: { h: element, m: element },
  },
  /** Means over rows, columns and the whole, which the direction reads. */
  factored: {
    direction: div(input("z"), sqrt(factored)),
    reduce: {
      rows: { of: mul(factored, zz), like: "row", mean: true },
      columns: { of: mul(factored, zz), like: "column", mean: true },
      all: { of: mul(factored, zz), like: "mean", mean: true },
    },
    summaries: {
      row: smoothed(input("row"), input("rows")),
      column: smoothed(input("column"), input("columns")),
      mean: smoothed(input("mean"), input("all")),
    },
    apply: { weight: descend(div(g, sqrt(factored))) },
    states: { row: perRow, column, mean: whole },
  },
  /** Sums over chunks that no row, tile or tensor is a multiple of, beside a state of every element; a sum reads weights. */
  chunked: {
    direction: input("z"),
    reduce: { squares: { of: add(mul(g, g), mul(scalar("smoothing"), abs(weight))), like: "v" } },
    summaries: { v: smoothed(v, input("squares")) },
    apply: { m: add(mul(constant(0.5), m), div(g, sqrt(v))), weight: descend(m) },
    states: { m: element, v: chunks(37) },
  },
  /** A value an element, in chunks of one. */
  alone: {
    direction: div(input("z"), sqrt(v)),
    reduce: { squares: { of: mul(g, g), like: "v" } },
    summaries: { v: smoothed(v, input("squares")) },
    apply: { weight: descend(div(g, sqrt(v))) },
    states: { v: chunks(1) },
  },
  rowLines: onLines("row", 3, 3),
  columnLines: onLines("column", 2, 1),
  noLines: onLines("row", 0, 2),
  /** Lines, sums and elements together. */
  together: {
    direction: input("z"),
    reduce: {
      squares: { of: mul(g, g), like: "v" },
      moved: { of: mul(selected, m), like: "column" },
    },
    summaries: { v: smoothed(v, input("squares")), column: add(input("column"), input("moved")) },
    apply: {
      h: fresh,
      m: add(mul(constant(0.9), m), g),
      weight: descend(div(add(add(m, g), input("column")), sqrt(mul(v, fresh)))),
    },
    lines: { interval: 2, seed: 78n },
    states: { v: perRow, m: linesOf("column", 4), h: element, column },
  },
} satisfies Readonly<Record<string, Ruled>>;

export type RuleName = keyof typeof rules;
const ruleNames = Object.keys(rules) as readonly RuleName[];

export const programOf = (name: RuleName, noise: Noise): Program => {
  const { states, ...rule }: Ruled = rules[name];
  return { noise, ...rule, states: Object.keys(states) };
};

export const scalars = { decay: 0.99, rate: 1e-2, smoothing: 1e-3, correction: 1.5 };

/** Values without a pattern, some of which are beyond the threshold of a plane. */
export const values = (n: number, offset = 0) => Float32Array.from({ length: n }, (_, i) => Math.sin(i * 1.7 + offset));
const THRESHOLD = 0.6;

/** Tensors of a rule, `count` arenas between them, and the operations that are to be done to each. */
export const jobsOf = (
  name: RuleName,
  sizes: readonly (readonly [rows: number, columns: number])[],
  ops: readonly Op[],
  count = 1,
): readonly Job[] => {
  const { states }: Ruled = rules[name];
  const layouts = sizes.map(([rows, columns]) => Object.values(states).map((layout) => layout(rows, columns)));
  const sets = sizes.map(([rows, columns], i) => {
    const size = rows * columns;
    return [size, Math.ceil(size / 32), 4, ...layouts[i]!.map((layout) => lengthOf(layout, size, columns))];
  });
  return allocate(sets, count).map(([slab, plane, total, ...slabs], i) => {
    const [, columns] = sizes[i]!;
    floatsOf(slab!).set(values(slab!.length));
    for (const [s, state] of slabs.entries())
      floatsOf(state).set(values(state.length, s + 1).map((x) => Math.abs(x) + 0.1));
    // A plane that no mark has made: every third word of it is full.
    new Uint32Array(plane!.arena.buffer, plane!.offset, plane!.length).forEach((_, word, words) => {
      words[word] = word % 3 === 0 ? 0xffff_ffff : 0x0f0f_3355;
    });
    return {
      tensor: {
        ...{ id: tensorId(`layers.${i}.weight`), weight: slab!, columns, states: slabs, layouts: layouts[i]! },
        ...{ plane: plane!, threshold: THRESHOLD, total: total! },
      },
      ops,
    };
  });
};
export const jobOf = (name: RuleName, size: readonly [rows: number, columns: number], ops: readonly Op[]): Job =>
  jobsOf(name, [size], ops)[0]!;

/** Hashes of a job's weights, states, plane (as far as there are elements) and total. */
export const bitsOf = ({ tensor: { weight: slab, states, plane, total } }: Job): readonly string[] => {
  const words = new Uint32Array(plane!.arena.buffer, plane!.offset, plane!.length).slice();
  if (slab.length % 32 !== 0) words[words.length - 1]! &= 2 ** (slab.length % 32) - 1;
  const totals = new Float64Array(total!.arena.buffer, total!.offset, 2).slice();
  const floats = [slab, ...states].map((of) => floatsOf(of).slice());
  return [...floats, words, totals].map(({ buffer }) =>
    createHash("sha1").update(new Uint8Array(buffer)).digest("hex"),
  );
};

export const key = (step: number, query = 0): Key => ({ seed: 5n, stream: "noise", step, query });

const keys = fc.record({ step: fc.nat(5), query: fc.nat(2) }).map(({ step, query }) => key(step, query));
const scales = fc.double({ min: -2, max: 2, noNaN: true });
const termsOf = (scale: fc.Arbitrary<number>) => fc.array(fc.record({ key: keys, scale }), { maxLength: 4 });
const update: fc.Arbitrary<Op> = fc.record({
  ...{ kind: fc.constant("update" as const), gradient: termsOf(scales), curvature: termsOf(scales) },
  ...{ scalars: fc.constant(scalars), step: fc.nat(9) },
});
const perturb: fc.Arbitrary<Op> = fc.record({ kind: fc.constant("perturb" as const), key: keys, scale: scales });
const mark: fc.Arbitrary<Op> = fc.constant({ kind: "mark" });
const norm: fc.Arbitrary<Op> = fc.record({ kind: fc.constant("norm" as const), key: keys });
/** Operations in any order, as many as `most`. */
export const opsOf = (most: number): fc.Arbitrary<Op[]> =>
  fc.array(
    fc.oneof({ weight: 3, arbitrary: perturb }, { weight: 3, arbitrary: update }, { weight: 1, arbitrary: mark }, norm),
    { minLength: 1, maxLength: most },
  );

const masks: fc.Arbitrary<Noise["mask"]> = fc.oneof(
  fc.constant(undefined),
  fc.record({ sparsity: fc.constantFrom(0, 0.1, 0.5, 0.9, 0.999), interval: fc.constantFrom(1, 2, 5) }),
);
export const noises: fc.Arbitrary<Noise> = fc
  .record({
    distribution: fc.constantFrom("gaussian" as const, "rademacher" as const),
    mask: masks,
    plane: fc.boolean(),
  })
  .map(({ mask: masked, ...noise }) => (masked === undefined ? noise : { ...noise, mask: masked }));
export const names = fc.constantFrom(...ruleNames);
