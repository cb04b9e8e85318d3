import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { choices, type OptimizerDescription, optimizer, optimizers } from "../../src/index.js";
import { readJournal } from "../../src/train/journal.js";
import { runPaths } from "../../src/train/run-folder.js";
import { fileWith, freshFolder, inside, jsonLines, refused, rows, seedling, task, zeroth } from "./zeroth.js";

const all = optimizers();
const one = (name: string): OptimizerDescription => all.find((found) => found.name === name)!;

describe("optimizers", () => {
  it("lists every one in aligned columns, no line wider than the page", async () => {
    const { code, stdout } = await inside(["optimizers"]);
    expect(code).toBe(0);
    const lines = stdout.split("\n");
    const column = lines[0]!.indexOf("arXiv");
    const papers = lines.filter((line) => /^\d{4}\.\d{5} {2}\S/.test(line.slice(column)));
    expect(papers).toHaveLength(choices.optimizer.length);
    for (const { name, paper } of all) {
      // A long name has a line of its own, right above.
      const at = lines.findIndex((line) => line === name || line.startsWith(`${name} `));
      const described = lines[at] === name ? lines[at + 1]! : lines[at]!;
      expect(described.slice(column)).toContain(paper.replace("arXiv ", ""));
    }
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(100);
  });

  it("tells machines the same, an object a line", async () => {
    const { code, stdout } = await inside(["optimizers", "--json"]);
    expect(code).toBe(0);
    expect(jsonLines(stdout)).toEqual(JSON.parse(JSON.stringify(all)));
    for (const { name } of all) {
      const { stdout: alone } = await inside(["optimizers", name, "--json"]);
      expect(jsonLines(alone)).toEqual([JSON.parse(JSON.stringify(one(name)))]);
    }
  });

  it("tells all about one, with a command that is accepted", async () => {
    for (const { name, link, hyperparameters, decisions } of all) {
      const { code, stdout, stderr } = await inside(["optimizers", name]);
      expect(code, stderr).toBe(0);
      const words = stdout.replace(/\s+/g, " ");
      expect(words).toContain(link);
      for (const decision of decisions) expect(words).toContain(decision);
      for (const { name: own } of hyperparameters) {
        const flag = `--${own.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
        expect(words).toMatch(new RegExp(` (${own}|${flag}) `));
      }
      const [, example = ""] = stdout.split("Try it:\n");
      const args = example.trim().split(" ");
      // Up to the model, which is not there.
      const tried = await inside(args.slice(args.indexOf("finetune")));
      expect(tried.code, `${name}: ${tried.stderr}`).toBe(1);
      expect(tried.stderr).toContain("./model");
    }
  });

  it("refuses a name that is none, and says which was meant", async () => {
    expect(await refused(["optimizers", "hizo"], 2)).toMatch(
      /^NAME must be mezo, .*not "hizo" \(did you mean hizoo\?\)/,
    );
    expect(await refused(["optimizers", "backpropagation"], 2)).not.toContain("did you mean");
    expect(await refused(["optimizers", "mezo", "hizoo"], 2)).toContain("argument");
  });
});

describe("what an optimizer costs, from its own definition", () => {
  it.each<[string, string, number, string]>([
    ["mezo", "2q", 2, "0"],
    ["zo-momentum", "2q", 2, "4"],
    ["zo-conservative", "2q + 3", 5, "0"],
    ["zo-adam", "2q", 2, "8"],
    ["hizoo", "2q + 1", 3, "4"],
    // A row, a column and one of the whole matrix, as Adafactor.
    ["hizoo-l", "2q + 1", 3, "4/n + 4/m + 4/mn"],
    // A bit a weight.
    ["sparse-mezo", "2q", 2, "1/8"],
    // V [n, 2] and the core [m, 2]; with momentum, as much again as the core.
    ["lozo", "2q", 2, "8/n + 8/m"],
    ["lozo-m", "2q", 2, "16/n + 8/m"],
    // U [m, 8], V [n, 8] and the core [8, 8].
    ["subzero", "2q", 2, "32/n + 32/m + 256/mn"],
    ["subset-norm", "2q", 2, "4/min(m,n)"],
    ["subspace-momentum", "2q", 2, "512/min(m,n)"],
    ["subset-norm-subspace-momentum", "2q", 2, "516/min(m,n)"],
    ["fzoo", "q + 1", 9, "0"],
    ["p-rge", "2q", 8, "0"],
    ["adam-forward", "q + 1", 6, "4"],
  ])("%s", (name, evaluations, defaultEvaluations, stateBytes) => {
    expect(one(name)).toMatchObject({ evaluations, defaultEvaluations, stateBytes });
  });

  it("counts the mean of steps that differ", () => {
    // Every other step is an anchor's: (2 + 4) / 2. Queries grow to 20, two sides each.
    expect(one("mezo-svrg").defaultEvaluations).toBe(3);
    expect(one("adazeta").defaultEvaluations).toBe(40);
  });

  it("reads ranges from the schema, and leaves out what is refused", () => {
    const ranges = (name: string) => one(name).hyperparameters.map((found) => [found.name, found.default, found.range]);
    expect(ranges("hizoo").slice(0, 2)).toEqual([
      ["smoothing", 1e-8, "at least 0, at most 1"],
      ["reference", 0, "0 or 1"],
    ]);
    expect(ranges("lozo-m")).toContainEqual(["rank", 2, "whole number, at least 1"]);
    expect(ranges("lozo-m")).toContainEqual(["momentum", 0.9, "at least 0, below 1"]);
    expect(ranges("zo-conservative")).toEqual([["clip", 0, "at least 0"]]);
    expect(one("p-rge")).toMatchObject({ methods: ["lora"], preset: { queries: 4, freezeA: true } });
  });
});

describe("builders", () => {
  it("make a choice of any optimizer, hyperparameters typed by name", () => {
    const hyperparameters = { smoothing: 1e-6, momentum: 0.5 };
    expect(optimizer("hizoo", { epsilon: 0.1, hyperparameters })).toEqual({
      name: "hizoo",
      epsilon: 0.1,
      hyperparameters,
    });
    expect(optimizer("mezo", { subspace: "random", hyperparameters: { sparsity: 0.5 } }).name).toBe("mezo");
    // @ts-expect-error HiZOO's own.
    expect(optimizer("mezo", { hyperparameters: { smoothing: 1e-6 } })).toEqual({
      ...{ name: "mezo", hyperparameters: { smoothing: 1e-6 } },
    });
    expect(optimizer("fzoo")).toEqual({ name: "fzoo" });
  });
});

describe("settings of the optimizer on the command line", () => {
  it("are listed from the tables", async () => {
    for (const command of ["finetune", "doctor"]) {
      const { stdout } = await inside([command, "--help"]);
      const words = stdout.replace(/\s+/g, " ");
      const { optimizer: names, perturbation, subspace, estimator, blocks, sweep, objective } = choices;
      for (const list of [names, perturbation, subspace, estimator, blocks, sweep, objective])
        expect(words).toContain(`${list.slice(0, -1).join(", ")} or ${list.at(-1)}`);
    }
  });

  it("reach the run's journal from flags and from a file", async () => {
    const config = fileWith(
      "run.yaml",
      [
        ...["optimizer: zo-momentum", "estimator: one-sided", "subspace: random", "freeze-a: true"],
        ...["hyperparameters:", "  sparsity: 0.25", "  interval: 3", "weight-decay: 0.25", "blocks: linear"],
        ...["objective: f1", "clip: 3", "perturbation: gaussian", "anchor-rows: 9", "noiseCheck: false"],
      ].join("\n"),
    );
    const cwd = freshFolder();
    const base = ["finetune", "--model", seedling, "--data", rows, ...task, "--config", config, "--out", "o"];
    const flags = ["--steps", "1", "--batch-size", "2", "--dev-rows", "0", "--threads", "1"];
    const given = ["--clip", "4", "--dampening", "0.5", "--sweep", "jacobi", "--perturbation", "rademacher"];
    const { code, stderr } = await zeroth([...base, ...flags, ...given, "--queries", "2"], cwd);
    expect(code, stderr).toBe(0);
    expect(readJournal(runPaths(join(cwd, "o")).journal).header.options).toMatchObject({
      ...{ optimizer: "zo-momentum", estimator: "one-sided", subspace: "random", freezeA: true, blocks: "linear" },
      ...{ sweep: "jacobi", objective: "f1", perturbation: "rademacher", anchorRows: 9, queries: 2, mask: null },
      hyperparameters: { sparsity: 0.25, interval: 3, weightDecay: 0.25, clip: 4, dampening: 0.5 },
    });
  });

  // The model is not there, and nothing can be fetched: what is refused is refused before that.
  const run = (...args: string[]) => ["--model", "no/such-model", "--data", "no.jsonl", "--task", "sst2", ...args];
  it.each<[string, readonly string[], RegExp]>([
    ["noise that is not learnt from", ["--optimizer", "hizoo", "--perturbation", "rademacher"], /hizoo.*rademacher/],
    ["another estimator", ["--optimizer", "fzoo", "--estimator", "two-sided"], /--estimator.*fzoo/],
    ["blocks", ["--optimizer", "zo-conservative", "--blocks", "linear"], /--blocks.*zo-conservative/],
    ["momentum behind plain SGD", ["--optimizer", "mezo-svrg", "--momentum", "0.9"], /mezo-svrg[\s\S]*momentum/],
    ["full parameters for an adapter's", ["--optimizer", "p-rge", "--method", "full"], /p-rge.*--method lora/],
    ["A frozen where there is none", ["--freeze-a", "--method", "full"], /--freeze-a.*--method full/],
    ["a sweep without blocks", ["--sweep", "jacobi"], /--sweep.*--blocks/],
    ["a mask without its subspace", ["--mask", "m.safetensors"], /--mask.*--subspace stored/],
    ["a stored subspace without a mask", ["--subspace", "stored"], /--mask FILE/],
    [
      "states in a low-rank subspace",
      ["--optimizer", "zo-adam", "--subspace", "lozo"],
      /--subspace lozo.*zo-adam \(m, v\)/,
    ],
    ["decay in a low-rank subspace", ["--subspace", "lozo", "--weight-decay", "0.1"], /weightDecay.*lozo/],
    [
      "the sphere in a low-rank subspace",
      ["--optimizer", "lezo", "--subspace", "subzero", "--perturbation", "sphere"],
      /sphere.*subzero/,
    ],
    [
      "a hyperparameter of another",
      ["--hyperparameters", "smoothing=1e-6"],
      /mezo[\s\S]*"smoothing"\nIt takes: .*momentum/,
    ],
    [
      "a hyperparameter out of range",
      ["--optimizer", "lozo", "--hyperparameters", "refreshEvery=5", "rank=0"],
      /lozo[\s\S]*rank: .*>=1/,
    ],
    ["momentum out of range", ["--momentum", "1"], /momentum: .*<1/],
    ["a metric of rows without answers", ["--objective", "accuracy", "--format", "chat"], /--objective.*chat/],
    ["no number", ["--hyperparameters", "rank"], /--hyperparameters must be like/],
    ["an estimator that is none", ["--estimator", "two-sides"], /--estimator must be .*\(did you mean two-sided\?\)/],
    [
      "a level that is none",
      ["--blocks", "layer"],
      /--blocks must be transformer, attention-mlp or linear, not "layer"/,
    ],
  ])("refuse %s before the model is looked for", async (_, args, message) => {
    const asked = args.includes("--format")
      ? run(...args).filter((word) => word !== "--task" && word !== "sst2")
      : run(...args);
    expect(await refused(["finetune", ...asked, "--out", "o"], 2)).toMatch(message);
    expect(await refused(["doctor", ...asked], 2)).toMatch(message);
  });

  it("refuse nothing of a run that is gone on with: its journal has the rest", async () => {
    const args = ["finetune", ...run("--sweep", "jacobi", "--out", "o", "--resume")];
    expect(await refused(args, 1)).toContain("no/such-model");
  });
});
