import { describe, expect, test } from "vitest";
import { type OptimizerName, optimizers } from "../../src/optimizer/optimizers.js";
import {
  farthest,
  minimised,
  names,
  type Problem,
  problems,
  type Setup,
  setupOf,
  taken,
  trainsAll,
  walked,
} from "./harness.js";
import type { Variation } from "./papers/common.js";
import { papers } from "./papers/papers.js";

/*
 * Whole steps of every optimizer (estimator, journaled numbers, fp32 kernels) against its paper's formula in float64.
 *
 * How far they may be apart: a coordinate of a perturbed point is off by at most 2 roundings, 2·2⁻²⁴·|θᵢ + εzᵢ|, so a loss by about
 * Σ|∇ᵢ|·2·2⁻²⁴·|θᵢ| < 60·1.2e-7, a projected gradient by that ÷ ε = 0.25, and a weight by that · η|z| < 0.02·2.5: 1.4e-6 a step at the
 * very worst. Rules that divide (by √v, √H) do no more, relative to their longer steps.
 */
const TOLERANCE = 1.4e-6;
/** What a change of a hyperparameter must do at least: a hundred times what rounding can. */
const VISIBLE = 7e-4;

const agree = (found: readonly (readonly number[])[], expected: readonly (readonly number[])[]): void => {
  expect(found.length).toBe(expected.length);
  for (const [step, paper] of expected.entries())
    for (const [i, value] of paper.entries()) {
      const off = Math.abs(found[step]![i]! - value) / Math.max(1, Math.abs(value));
      expect(off, `[${i}] after step ${step + 1}: ${found[step]![i]}, not ${value}`).toBeLessThan(
        TOLERANCE * (step + 1),
      );
    }
};

/** Losses that rise from step to step, and other rows at an anchor: what SVRG looks at, and no other notices. */
const drifting: Problem = {
  ...problems.matrix,
  loss: (x, { step, rows }) => problems.matrix.loss(x, { step, rows }) + 3 * step + (rows === "anchor" ? x[0]! : 0),
};

const paperSetup = (name: OptimizerName, change: Partial<Setup> = {}): Setup =>
  setupOf(name, { learningRate: papers[name].learningRate ?? 0.02, problem: drifting, ...change });

/** Three queries where one says nothing: FZOO's spread. */
const several = (name: OptimizerName): Partial<Setup> => ({ queries: optimizers[name].preset.queries === 8 ? 4 : 1 });

const common: Readonly<Record<string, Variation>> = {
  weightDecay: { change: { weightDecay: 0.5 } },
  momentum: { change: { momentum: 0.6 } },
  dampening: { change: { momentum: 0.6, dampening: 0.3 }, from: { momentum: 0.6, dampening: 0 } },
  clip: { change: { clip: 1 } },
};

test("every optimizer of the table has its paper's formula, and says which paper", () => {
  expect(Object.keys(papers).sort()).toEqual([...names].sort());
  for (const name of names) {
    expect(optimizers[name].name).toBe(name);
    expect(optimizers[name].paper).toMatch(/^arXiv \d{4}\.\d{5}$/);
  }
});

describe.each(names)("%s", (name) => {
  const paper = papers[name];
  const follows = async (change: Partial<Setup>) => {
    const setup = paperSetup(name, { ...several(name), ...change });
    const found = await taken(setup);
    agree(found, paper.run(setup));
    return found;
  };

  test.each<readonly [string, Partial<Setup>]>([
    ["its defaults", {}],
    ["three queries", { queries: 3 }],
    ["a large radius", { epsilon: 1, queries: 2 }],
    ["a vector", { problem: problems.vector }],
    ["the tensors of a model", { problem: problems.model, queries: 2 }],
    ["another seed", { seed: 2 ** 40 + 3 }],
  ])("takes the paper's steps with %s", async (_, change) => {
    await follows(change);
  });

  test("takes the paper's steps with every noise that it learns from, and refuses the others", async () => {
    for (const perturbation of ["gaussian", "rademacher", "sphere"] as const) {
      const change = { perturbation, queries: 3, problem: problems.model };
      if (optimizers[name].noises.includes(perturbation)) await follows(change);
      else await expect(taken(paperSetup(name, change))).rejects.toThrow(`learns nothing from ${perturbation} noise`);
    }
  });

  test("every hyperparameter changes the steps, as the paper has it", async () => {
    const variations = { ...common, ...paper.vary };
    expect(Object.keys(variations).sort()).toEqual(Object.keys(optimizers[name].hyperparameters).sort());
    for (const [option, { change, from = {}, model = false }] of Object.entries(variations)) {
      // Three queries, for a sign of one does not see a clip.
      const setup = { queries: 3, ...(model ? { problem: problems.model } : {}) };
      if (paper.refuses?.includes(option)) {
        if (option !== "dampening")
          await expect(taken(paperSetup(name, { hyperparameters: change }))).rejects.toThrow(option);
        continue;
      }
      const before = await follows({ ...setup, hyperparameters: from });
      const after = await follows({ ...setup, hyperparameters: change });
      const seen = farthest(before.at(-1)!, after.at(-1)!);
      if (option === "dampening" && paper.scaleFree) expect(seen).toBeLessThan(TOLERANCE * setupOf(name).steps);
      else expect(seen, option).toBeGreaterThan(VISIBLE);
    }
  });

  test("the schedule's rate is the step's size", async () => {
    const peak = { learningRate: 1.5 * (paper.learningRate ?? 0.02), steps: 6 };
    const constant = await follows(peak);
    for (const schedule of ["constant", "linear", "cosine"] as const) {
      const after = await follows({ ...peak, schedule, warmup: 2 });
      expect(farthest(after.at(-1)!, constant.at(-1)!)).toBeGreaterThan(VISIBLE);
    }
  });

  test("minimize does what trains a model", async () => {
    for (const placement of ["copies", "in-place"] as const) {
      const setup = paperSetup(name, { ...several(name), placement });
      if (trainsAll(name)) expect(await minimised(setup)).toEqual(await walked(setup));
      else await expect(minimised(setup)).rejects.toThrow("--freeze-a");
    }
  });
});
