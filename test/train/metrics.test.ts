import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openMetrics } from "../../src/train/metrics.js";
import { temporary } from "./folder.js";

const steps = (path: string): readonly number[] =>
  readFileSync(path, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line).step);

test("a resumed run drops the lines it measures again, and a torn one", async () => {
  const path = join(temporary(), "metrics.jsonl");
  const first = await openMetrics(path, 0);
  for (const step of [1, 2, 3, 4]) first.write({ step, loss: 1 / step });
  first.close();
  writeFileSync(path, '{"step": 5, "lo', { flag: "a" });
  const second = await openMetrics(path, 2);
  second.write({ step: 3, loss: 0.25 });
  second.close();
  expect(steps(path)).toEqual([1, 2, 3]);
  expect(JSON.parse(readFileSync(path, "utf8").split("\n")[2] ?? "")).toEqual({ step: 3, loss: 0.25 });
  const third = await openMetrics(path, 0);
  third.close();
  expect(readFileSync(path, "utf8")).toBe("");
});
