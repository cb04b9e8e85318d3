import { readFileSync } from "node:fs";
import { expect, test, vi } from "vitest";

/* The worked example of CONTRIBUTING.md: its file, and a row for it, are all that a new optimizer takes. */

vi.mock("../../src/optimizer/optimizers.js", async (original) => {
  const [table, { zoLion }] = await Promise.all([original<Record<string, object>>(), import("./zo-lion.js")]);
  return { ...table, optimizers: { ...table.optimizers, "zo-lion": zoLion } };
});

import { minimize } from "../../src/index.js";
import { contenders } from "../../src/lab/contenders.js";
import type { OptimizerName } from "../../src/optimizer/optimizers.js";
import type { StepRecord } from "../../src/train/journal.js";
import { movesOf } from "../../src/train/step.js";
import { inside } from "../cli/zeroth.js";
import { bitsOf, farthest, type Lab, names, openLab, problems, type Setup, setupOf, taken } from "./harness.js";
import { running, twoSidedEstimate, type Vector } from "./papers/common.js";

const NAME = "zo-lion" as OptimizerName;
const setup = (change: Partial<Setup> = {}): Setup => setupOf(NAME, { steps: 6, queries: 2, ...change });

test("the page's file is the one that is tested here, and short", () => {
  const page = readFileSync(new URL("../../CONTRIBUTING.md", import.meta.url), "utf8");
  const file = readFileSync(new URL("zo-lion.ts", import.meta.url), "utf8");
  const [, block = ""] = /```ts\n([\s\S]*?)```/.exec(page) ?? [];
  expect(block).toBe(file.replaceAll('"../../src/optimizer/', '"./').replaceAll('"../../src/', '"../'));
  expect(block.split("\n").length).toBeLessThan(120);
});

test("its steps are the paper's, in float64 on plain arrays", async () => {
  const lion = (own: Setup): Vector[] => {
    const { beta1 = 0.9, beta2 = 0.99 } = own.hyperparameters;
    let m: Vector = own.problem.start.map(() => 0);
    return running(own, (x, step, rate) => {
      const g = twoSidedEstimate(own, x, step);
      const c = g.map((value, i) => beta1 * m[i]! + (1 - beta1) * value);
      m = g.map((value, i) => beta2 * m[i]! + (1 - beta2) * value);
      return x.map((value, i) => value - rate * Math.sign(c[i]!));
    });
  };
  for (const change of [{}, { hyperparameters: { beta1: 0.5, beta2: 0.8 } }, { problem: problems.model }]) {
    const found = await taken(setup(change));
    for (const [step, expected] of lion(setup(change)).entries())
      expect(farthest(found[step]!, expected)).toBeLessThan(1e-5);
  }
});

test("a journal rebuilds its weights and state to the bit, in copies and in place", async () => {
  const bits = (lab: Lab) => Object.fromEntries([...lab.held()].map(([name, values]) => [name, bitsOf(values)]));
  for (const placement of ["copies", "in-place"] as const) {
    const own = setup({ placement, problem: problems.model });
    const [live, again] = [openLab(own), openLab(own)];
    const records: StepRecord[] = [];
    let memory: unknown = live.stepper.estimator.initial;
    for (let step = 0; step < own.steps; step++) {
      const { record, memory: next } = await live.step(step, memory);
      records.push(record);
      memory = next;
    }
    let remembered: unknown = again.stepper.estimator.initial;
    for (const record of records) {
      const { moves, memory: next } = movesOf(again.stepper, record, remembered);
      again.variables.replay(moves);
      remembered = next;
    }
    expect(bits(again)).toEqual(bits(live));
    expect([...live.held().keys()].some((name) => name.endsWith("#m"))).toBe(true);
  }
});

test("it is known by its row: to minimize, to the lab, and to the command line", async () => {
  expect(names).toContain(NAME);
  const bowl = (x: ArrayLike<number>): number => Array.from(x).reduce((sum, value, i) => sum + (value - i) ** 2, 0);
  const optimizer = { name: NAME, learningRate: 0.05, epsilon: 1e-3 };
  const { x } = await minimize(bowl, [3, 3, 3], { optimizer, steps: 200, schedule: "linear" });
  expect(bowl(x)).toBeLessThan(bowl([3, 3, 3]) / 10);
  expect(contenders([NAME]).map(({ name }) => name)).toEqual([NAME]);
  const { code, stdout } = await inside(["optimizers", NAME, "--json"]);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ name: NAME, stateBytes: "4", evaluations: "2q" });
  const train = ["finetune", "--model", "./none", "--data", "./none.jsonl", "--task", "sst2", "--out", "o"];
  const tried = await inside([...train, "--optimizer", NAME, "--hyperparameters", "beta1=0.8"]);
  expect(tried.stderr).toContain("./none");
  const wrong = await inside([...train, "--optimizer", NAME, "--hyperparameters", "beta1=1"]);
  expect(wrong.stderr).toMatch(/zo-lion[\s\S]*beta1/);
});
