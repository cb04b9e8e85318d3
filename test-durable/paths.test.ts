import { describe } from "vitest";
import { small, task } from "../test/runs.js";
import { type Path, survives } from "./kills.js";

/* What makes a step fast, each with both numbers of threads. */

const lora = ["--learning-rate", "1e-2"];
const full = ["--learning-rate", "1e-4", "--perturbation", "rademacher"];

const paths: readonly Omit<Path, "model" | "threads">[] = [
  { name: "one point after the other", method: "lora", flags: [...lora, "--queries", "3", "--run-tokens", "0"] },
  { name: "queries and sides in one run", method: "lora", flags: [...lora, "--queries", "3", "--run-tokens", "512"] },
  { name: "a prefix kept in memory", method: "lora", flags: [...lora, "--layers", "3..5"] },
  { name: "a prefix spilled to disk", method: "full", flags: [...full, "--layers", "3..5", "--prefix-cache", "0"] },
  { name: "all weights in place, signs", method: "full", flags: full },
  { name: "all weights in place, three queries", method: "full", flags: [...full, "--queries", "3"] },
  { name: "4-bit base", method: "lora", flags: [...lora, "--quantize", "4"] },
  { name: "8-bit base, queries in one run", method: "lora", flags: [...lora, "--quantize", "8", "--queries", "2"] },
  {
    name: "low-rank side paths",
    method: "full",
    flags: [...full, "--subspace", "lozo", "--hyperparameters", "refreshEvery=4"],
  },
  { name: "a sparse mask", method: "full", flags: [...full, "--subspace", "magnitude"] },
  { name: "block by block", method: "full", flags: [...full, "--layers", "4..5", "--blocks", "attention-mlp"] },
  { name: "an objective that is not smooth", method: "lora", flags: [...lora, "--objective", "accuracy"] },
];

describe.each(["1", "2"])("%s threads, killed and gone on with", (threads) => {
  for (const path of paths) survives({ ...path, threads, model: task, flags: [...small, ...path.flags] }, 2, 12);
});
