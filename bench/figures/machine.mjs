// Kernels, replay, load, and how near all of it is to what the machine can do.
import { child, finetune, memo, ROWS, step } from "../children.mjs";
import { median, rowsFile } from "../setup.mjs";
import { lora } from "./steps.mjs";

/** Multiplications and additions of SmolLM2-135M's linear layers, a token. */
const OPERATIONS = 2 * 106_168_320;

export const machineFigures = (model) => {
  const peaks = memo(() => child("bench/peaks.mjs", []));
  const kernels = memo(() => child("bench/kernels.mjs", ["--json"]));
  const walk = (distribution, name, threads) =>
    kernels().find((row) => row.distribution === distribution && row.walk === name && row.threads === threads)
      .nanoseconds;
  const scaling = (distribution) => () => {
    const [one, two] = [1, 2].map((threads) => walk(distribution, "restore, update, perturb", threads));
    return { value: one / two, note: `${one.toFixed(2)} ns ÷ ${two.toFixed(2)} ns an element` };
  };
  const replay = (perturbation) => () => ({
    value: child("bench/replay.mjs", [model, "--perturbation", perturbation]).stepsPerMinute,
  });
  return [
    {
      figure: "gaussian-noise",
      says: "Gaussian noise on one thread",
      most: 1.3,
      unit: "ns an element",
      measure: () => ({ value: walk("gaussian", "noise alone", 1) }),
    },
    {
      figure: "rademacher-noise",
      says: "Rademacher noise on one thread",
      unit: "ns an element",
      measure: () => ({ value: walk("rademacher", "noise alone", 1) }),
    },
    {
      figure: "gaussian-threads",
      says: "Gaussian restore + update + perturb, one thread ÷ two",
      measure: scaling("gaussian"),
    },
    {
      figure: "rademacher-threads",
      says: "Rademacher restore + update + perturb, one thread ÷ two",
      measure: scaling("rademacher"),
    },
    {
      figure: "walk-bandwidth",
      says: "memory traffic of a Rademacher perturbation ÷ the machine's peak",
      measure() {
        const [ours, peak] = [8 / walk("rademacher", "perturb", 2), peaks().gigabytes];
        return { value: ours / peak, note: `${ours.toFixed(1)} GB/s ÷ ${peak.toFixed(1)} GB/s` };
      },
    },
    {
      figure: "forward-roofline",
      says: "arithmetic of a forward's linear layers ÷ the machine's peak",
      measure() {
        const { secondsPerTwoForwards, tokens } = step({ model, rows: rowsFile(ROWS), ...lora });
        const [ours, peak] = [(2 * OPERATIONS * tokens) / secondsPerTwoForwards / 1e9, peaks().gigaflops];
        return { value: ours / peak, note: `${ours.toFixed(0)} GFLOP/s ÷ ${peak.toFixed(0)} GFLOP/s` };
      },
    },
    {
      figure: "replay-rademacher",
      says: "full-parameter steps replayed, Rademacher",
      least: 2000,
      unit: "a minute",
      measure: replay("rademacher"),
    },
    {
      figure: "replay-gaussian",
      says: "full-parameter steps replayed, Gaussian",
      least: 500,
      unit: "a minute",
      measure: replay("gaussian"),
    },
    {
      figure: "ready",
      says: "a 135 M model is open and its engine ready for a first run",
      most: 1.5,
      unit: "s",
      measure: () => ({ value: child("bench/ready.mjs", [model]).seconds }),
    },
    {
      figure: "first-step",
      says: "from the command to the end of the first step, its noise check included",
      unit: "s",
      async measure() {
        const times = [];
        for (let i = 0; i < 3; i++)
          times.push(
            (await finetune({ model, task: "sst2", data: rowsFile(ROWS), "dev-rows": 0, steps: 2 })).firstStep,
          );
        return { value: median(times) };
      },
    },
  ];
};
