import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { asset, scratch } from "../test/seedling.js";

/* The benchmarks' scripts stand outside of the types: that they still run is seen on the model that ships with Zeroth. */

const { place } = scratch("bench");
const root = fileURLToPath(new URL("..", import.meta.url));
const model = asset("seedling");
const rows = join(place, "rows.jsonl");
const row = (i: number) => JSON.stringify({ sentence: `a film of some charm , number ${i}`, label: i % 2 });
writeFileSync(rows, Array.from({ length: 16 }, (_, i) => row(i)).join("\n"));

const step = ["step.mjs", model, rows, "--repeats", "1"];
const memory = ["memory.mjs", model, rows];

test.each<readonly [what: string, command: readonly string[], figures: readonly string[]]>([
  ["a LoRA step", step, ["ratio", "secondsPerStep", "secondsPerTwoForwards", "tokens"]],
  ["points one after another", [...step, "--queries", "2", "--run-tokens", "0"], ["ratio"]],
  ["a full step", [...step, "--method", "full", "--perturbation", "rademacher"], ["ratio"]],
  ["the last blocks", [...step, "--layers", "4..5"], ["ratio"]],
  ["the last blocks, what comes before kept", [...step, "--layers", "4..5", "--warm"], ["ratio"]],
  ["a step against another", [...step, "--against", '{"queries":"2"}'], ["ratio", "secondsPerOtherStep"]],
  ["memory of an evaluation", [...memory, "evaluate"], ["peakRssBytes"]],
  ["memory of LoRA", [...memory, "lora"], ["peakRssBytes"]],
  ["memory of a full run", [...memory, "full"], ["peakRssBytes"]],
  ["replay", ["replay.mjs", model, "--repeats", "1"], ["stepsPerMinute"]],
  ["start", ["ready.mjs", model], ["seconds"]],
  ["the machine's peaks", ["peaks.mjs"], ["gigaflops", "gigabytes"]],
])("measured: %s", (_, [script = "", ...args], figures) => {
  const out = execFileSync(process.execPath, [join(root, "bench", script), ...args], { encoding: "utf8" });
  const found: unknown = JSON.parse(out.trim().split("\n").at(-1) ?? "");
  for (const figure of figures)
    expect(found).toHaveProperty(
      figure,
      expect.toSatisfy((value: number) => value > 0),
    );
});

test("kernels are measured, alone and in walks on one thread and two", () => {
  const command = [join(root, "bench/kernels.mjs"), "--elements", "1.34", "--json"];
  const found: { threads: number; nanoseconds: number }[] = JSON.parse(
    execFileSync(process.execPath, command, { encoding: "utf8" }),
  );
  expect(found).toHaveLength(10);
  for (const { threads, nanoseconds } of found) expect(threads > 0 && nanoseconds > 0).toBe(true);
});
