import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { floatsOf, type Slab } from "../../src/kernels/arena.js";
import { add, constant, div, type Expr, input, max, mul, scalar, sqrt, sub, where } from "../../src/kernels/expr.js";
import { planOf, ruleOf } from "../../src/kernels/plan.js";
import { type Job, type Op, type Program, referenceWalker, type Term, wasmWalker } from "../../src/kernels/walk.js";
import { type Key, tensorId } from "../../src/random/key.js";

const key = (step: number, query = 0): Key => ({ seed: 5n, stream: "noise", step, query });
const slab = (values: Float32Array): Slab => ({
  arena: { buffer: values.slice().buffer },
  offset: 0,
  length: values.length,
});
const values = (n: number, offset = 0) => Float32Array.from({ length: n }, (_, i) => Math.sin(i * 1.7 + offset));
const bitsOf = (of: Slab) => Buffer.from(floatsOf(of).slice().buffer).toString("base64");
const bitsOfJob = ({ weight, states }: Job) => [weight, ...states].map(bitsOf);

const sgd: Program = {
  distribution: "gaussian",
  direction: input("z"),
  apply: { weight: sub(mul(input("weight"), scalar("decay")), mul(scalar("rate"), input("g"))) },
  states: [],
};
const h = input("h");
const fresh = max(add(mul(constant(0.9), h), mul(scalar("smoothing"), input("zz"))), constant(1e-8));
/** Reads everything that a program can read. */
const curved: Program = {
  distribution: "gaussian",
  direction: div(input("z"), sqrt(h)),
  apply: {
    h: fresh,
    m: add(input("m"), input("g")),
    weight: sub(
      input("weight"),
      mul(scalar("rate"), where({ lt: [input("m"), input("g")] }, div(input("g"), sqrt(fresh)), input("m"))),
    ),
  },
  states: ["h", "m"],
};
const withSigns = (program: Program): Program => ({ ...program, distribution: "rademacher" });
const programs = { sgd, curved, sgdSigns: withSigns(sgd), curvedSigns: withSigns(curved) };

const scalars = { decay: 0.99, rate: 1e-2, smoothing: 1e-3 };
const jobOf = ({ states }: Program, n: number, ops: readonly Op[]): Job => ({
  tensor: tensorId("layers.0.weight"),
  weight: slab(values(n)),
  states: states.map((_, i) => slab(values(n, i + 1).map((value) => Math.abs(value) + 0.1))),
  ops,
});

const keys = fc.record({ step: fc.nat(3), query: fc.nat(2) }).map(({ step, query }) => key(step, query));
const scales = fc.double({ min: -2, max: 2, noNaN: true });
const terms: fc.Arbitrary<Term[]> = fc.array(fc.record({ key: keys, scale: scales }), { maxLength: 4 });
const ops: fc.Arbitrary<Op[]> = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant("perturb" as const), key: keys, scale: scales }),
    fc.record({
      kind: fc.constant("update" as const),
      gradient: terms,
      curvature: terms,
      scalars: fc.constant(scalars),
    }),
  ),
  { minLength: 1, maxLength: 6 },
);
const sizes = fc.constantFrom(1, 3, 16, 17, 511, 513, 2047, 2048, 2049, 5000);
const names = fc.constantFrom(...(Object.keys(programs) as (keyof typeof programs)[]));

describe("walks", () => {
  it("have the bits of the reference, whatever the operations, the distribution and the size", () => {
    fc.assert(
      fc.property(names, sizes, ops, (name, n, list) => {
        const [fast, plain] = [jobOf(programs[name], n, list), jobOf(programs[name], n, list)];
        wasmWalker(programs[name]).walk(fast);
        referenceWalker(programs[name]).walk(plain);
        expect(bitsOfJob(fast)).toEqual(bitsOfJob(plain));
      }),
      { numRuns: 60, seed: 1 },
    );
  });

  it("give the same bits for many operations in one walk and for many walks of one operation", () => {
    fc.assert(
      fc.property(names, sizes, ops, (name, n, list) => {
        const walker = wasmWalker(programs[name]);
        const [together, apart] = [jobOf(programs[name], n, list), jobOf(programs[name], n, list)];
        walker.walk(together);
        for (const op of list) walker.walk({ ...apart, ops: [op] });
        expect(bitsOfJob(apart)).toEqual(bitsOfJob(together));
      }),
      { numRuns: 60, seed: 2 },
    );
  });

  it("are what their definition says, worked by hand", () => {
    const f = Math.fround;
    const signs = wasmWalker(withSigns(sgd));
    const job = jobOf(sgd, 700, [{ kind: "perturb", key: key(1), scale: 0.1 }]);
    signs.walk(job);
    const moved = floatsOf(job.weight);
    const start = values(700);
    const directions = start.map((value, i) =>
      moved[i] === f(value + f(0.1)) ? 1 : moved[i] === f(value - f(0.1)) ? -1 : 0,
    );
    expect(directions.every((sign) => sign !== 0)).toBe(true);
    expect(new Set(directions)).toEqual(new Set([1, -1]));

    const update = jobOf(sgd, 700, [
      { kind: "update", gradient: [{ key: key(1), scale: 0.3 }], curvature: [], scalars },
    ]);
    signs.walk(update);
    const expected = start.map((value, i) => f(f(value * f(0.99)) - f(f(0.01) * f(f(0.3) * (directions[i] ?? 0)))));
    expect(floatsOf(update.weight)).toEqual(expected);
  });

  it("treat an empty gradient as zero", () => {
    const job = jobOf(curved, 100, [{ kind: "update", gradient: [], curvature: [], scalars }]);
    wasmWalker(curved).walk(job);
    expect(floatsOf(job.states[1]!)).toEqual(floatsOf(jobOf(curved, 100, []).states[1]!));
  });

  it("draw noise once for neighbouring operations with one key, and fold a single term into the rule", () => {
    const { keys: drawn, actions } = planOf(sgd, [
      { kind: "perturb", key: key(1), scale: 1e-3 },
      { kind: "update", gradient: [{ key: key(1), scale: 2 }], curvature: [], scalars },
      { kind: "perturb", key: key(2), scale: 1e-3 },
    ]);
    expect(drawn).toEqual([key(1), key(2)]);
    expect(actions.map(({ name }) => name)).toEqual(["perturb@0(s0)|apply term zero@0(s1,s2,s0,s3,s4)|perturb@1(s0)"]);
  });

  it("join as many operations as there is room for their noise", () => {
    const many = Array.from({ length: 11 }, (_, i): Op => ({ kind: "perturb", key: key(i), scale: 1e-3 }));
    expect(planOf(sgd, many).actions.map(({ keys: drawn }) => drawn)).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9, 10],
    ]);
    const one = Array.from({ length: 20 }, (): Op => ({ kind: "perturb", key: key(1), scale: 1e-3 }));
    expect(planOf(sgd, one).actions.map(({ instructions }) => instructions.length)).toEqual([8, 8, 4]);
  });

  it("keep a sum only where it is read later", () => {
    const terms = Array.from({ length: 6 }, (_, i) => ({ key: key(i), scale: 1 }));
    const { actions } = planOf(sgd, [{ kind: "update", gradient: terms, curvature: [], scalars }]);
    expect(actions.map((action) => Object.keys(ruleOf(sgd, action)))).toEqual([["g"], ["weight"]]);
  });

  it("leave a tensor of no elements alone", () => {
    const job = jobOf(sgd, 0, [{ kind: "perturb", key: key(1), scale: 1 }]);
    wasmWalker(sgd).walk(job);
    expect(job.weight.length).toBe(0);
  });

  it.each<[string, Partial<Program>, RegExp]>([
    ["a perturbation of an unknown state", { direction: input("v") }, /perturbation reads "v".*z, weight, h, m/],
    ["a perturbation that reads a scalar", { direction: scalar("rate") }, /perturbation reads the scalar "rate"/],
    ["a rule that reads the noise itself", { apply: { weight: input("z") } }, /rule reads "z".*weight, g, zz, h, m/],
    [
      "a rule that writes what is not there",
      { apply: { velocity: input("g") } },
      /rule writes "velocity".*weight, h, m/,
    ],
  ])("refuse %s by name", (_, change, message) => {
    expect(() => wasmWalker({ ...curved, ...change })).toThrow(message);
    expect(() => referenceWalker({ ...curved, ...change })).toThrow(message);
  });

  it("refuse an update without a scalar that the rule reads", () => {
    const job = jobOf(sgd, 10, [{ kind: "update", gradient: [], curvature: [], scalars: { rate: 1 } }]);
    expect(() => wasmWalker(sgd).walk(job)).toThrow(/scalar "decay"/);
  });

  it("refuse states of another number or size than the program's", () => {
    const good = jobOf(curved, 10, []);
    expect(() => wasmWalker(curved).walk({ ...good, states: good.states.slice(1) })).toThrow(RangeError);
    expect(() => wasmWalker(curved).walk({ ...good, states: [...good.states.slice(1), slab(values(9))] })).toThrow(
      RangeError,
    );
  });

  it("compile a rule whose expression is written once for two outputs to one computation", () => {
    const shared: Expr = sqrt(input("h"));
    const program: Program = { ...curved, apply: { h: shared, m: shared } };
    const job = jobOf(program, 40, [{ kind: "update", gradient: [], curvature: [], scalars: {} }]);
    wasmWalker(program).walk(job);
    expect(bitsOf(job.states[0]!)).toBe(bitsOf(job.states[1]!));
  });
});
