import { describe, expect, it } from "vitest";
import { allocate, floatsOf } from "../../src/kernels/arena.js";
import { add, constant, input, mul, scalar } from "../../src/kernels/expr.js";
import type { Layout, Program, Tensor } from "../../src/kernels/program.js";
import { emptySums, summariser } from "../../src/kernels/summaries.js";

const program: Program = {
  noise: { distribution: "gaussian" },
  direction: input("z"),
  reduce: {
    total: { of: input("g"), like: "row" },
    mean: { of: input("g"), like: "row", mean: true },
    down: { of: input("g"), like: "column", mean: true },
  },
  summaries: {
    row: add(mul(scalar("keep"), input("row")), input("total")),
    other: add(input("row"), mul(constant(10), input("mean"))),
    column: input("down"),
  },
  apply: {},
  states: ["m", "row", "other", "column"],
};
const layouts: readonly Layout[] = [
  { kind: "element" },
  { kind: "chunk", size: 3 },
  { kind: "chunk", size: 3 },
  { kind: "column" },
];
const tensorOf = (): Tensor => {
  const [[weight, ...states] = []] = allocate([[6, 6, 2, 2, 3]], 1);
  for (const [i, slab] of states.entries()) floatsOf(slab).fill(i + 1);
  return { id: 1n, weight: weight!, columns: 3, states, layouts };
};

describe("summaries", () => {
  it("have sums as long as the states that they are laid out like", () => {
    const sums = emptySums(program, tensorOf());
    expect([...sums].map(([name, { length }]) => [name, length])).toEqual([
      ["total", 2],
      ["mean", 2],
      ["down", 3],
    ]);
    expect([...sums.values()].every((sum) => sum.every((value) => value === 0))).toBe(true);
  });

  it("are made of sums, means, scalars and what every state was before any is new", () => {
    const tensor = tensorOf();
    const sums = new Map([
      ["total", Float64Array.of(6, 60)],
      ["mean", Float64Array.of(6, 60)],
      ["down", Float64Array.of(1, 2, 5)],
    ]);
    summariser(program)(tensor, sums, { keep: 0.5 });
    const [m, row, other, column] = tensor.states.map((slab) => [...floatsOf(slab)]);
    expect(m).toEqual([1, 1, 1, 1, 1, 1]);
    expect(row).toEqual([0.5 * 2 + 6, 0.5 * 2 + 60]);
    // The row before, not the one that was just made.
    expect(other).toEqual([2 + 10 * 2, 2 + 10 * 20]);
    expect(column).toEqual([0.5, 1, 2.5]);
  });

  it("round sums to fp32 once", () => {
    const tensor = tensorOf();
    const sums = new Map([
      ["total", Float64Array.of(2 ** 24 + 1.5, 1e-9)],
      ["mean", Float64Array.of(0, 0)],
      ["down", Float64Array.of(1, 1, 1)],
    ]);
    summariser(program)(tensor, sums, { keep: 0 });
    expect([...floatsOf(tensor.states[1]!)]).toEqual([2 ** 24 + 2, Math.fround(1e-9)]);
  });
});
