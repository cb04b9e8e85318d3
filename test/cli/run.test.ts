import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { freshFolder, jsonLines, rows, seedling, start, task, zeroth } from "./zeroth.js";

const tune = (out: string, ...more: string[]) => [
  ...["finetune", "--model", seedling, "--data", rows, ...task, "--out", out],
  ...["--threads", "1", "--batch-size", "4", "--dev-rows", "0", ...more],
];

/** Name, size, time and content of every file below a folder. */
const picture = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: "utf8" })
    .sort()
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())
    .map(
      (path) => `${path} ${statSync(path).mtimeMs} ${createHash("sha256").update(readFileSync(path)).digest("hex")}`,
    );

describe("finetune", () => {
  it("tells each step and the result to machines, and refuses to write over the run", async () => {
    const cwd = freshFolder();
    const { code, stdout, stderr } = await zeroth(tune("tuned", "--steps", "3", "--json"), cwd);
    expect(code, stderr).toBe(0);
    const lines = jsonLines(stdout);
    const steps = lines.filter((line) => "step" in line);
    expect(steps.map(({ step }) => step)).toEqual([1, 2, 3]);
    for (const step of steps) {
      expect(Object.keys(step)).toEqual([
        "step",
        "loss",
        "learningRate",
        "projectedGradient",
        "secondsPerStep",
        "rssBytes",
      ]);
      for (const value of Object.values(step)) expect(value).toEqual(expect.any(Number));
    }
    const result = lines.at(-1);
    expect(result).toMatchObject({ steps: 3, out: "tuned", outcome: "finished" });
    for (const name of ["loss", "secondsPerStep", "peakRssBytes"]) expect(result?.[name]).toEqual(expect.any(Number));
    expect(existsSync(join(cwd, "tuned", "adapter_model.safetensors"))).toBe(true);

    const before = picture(join(cwd, "tuned"));
    const again = await zeroth(tune("tuned", "--steps", "3"), cwd);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain("--resume");
    expect(again.stderr.trim().split("\n").length).toBeLessThanOrEqual(4);
    // A finished run is left alone, and that is no failure.
    const resumed = await zeroth(tune("tuned", "--steps", "3", "--resume"), cwd);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(resumed.stdout).toContain("finished before");
    expect(picture(join(cwd, "tuned"))).toEqual(before);
  });

  it("tells people in plain lines when nothing can be redrawn", async () => {
    const { code, stdout, stderr } = await zeroth(tune("tuned", "--steps", "3"));
    expect(code, stderr).toBe(0);
    expect(stdout).not.toContain("\u001b");
    expect(stdout).toMatch(/^step 3\/3 {2}loss \d\.\d{4} {2}lr 0\.001 .* left {2}\d+ MB$/m);
    expect(stdout).toMatch(/^Done: 3 steps/m);
    expect(stdout).toMatch(/^ {2}node \S+ evaluate --model \S+ --adapter tuned --prompt '\{text\} \{name\} was so'/m);
  });

  it("stops at Ctrl-C after the step it is in, and the command that it prints goes on", async () => {
    const cwd = freshFolder();
    const { child, done } = start(tune("tuned", "--steps", "100000", "--json"), cwd);
    let seen = "";
    child.stdout?.on("data", (text: string) => {
      const early = !seen.includes('"step":3,');
      seen += text;
      if (early && seen.includes('"step":3,')) child.kill("SIGINT");
    });
    const { code, stdout, stderr } = await done;
    expect(code, stderr).toBe(130);
    const stopped = jsonLines(stdout).at(-1);
    const steps = Number(stopped?.steps);
    expect(stopped).toMatchObject({ outcome: "interrupted", out: "tuned" });
    expect(steps).toBeGreaterThanOrEqual(3);
    expect(jsonLines(stdout).filter((line) => "step" in line)).toHaveLength(steps);
    const command = stderr.trimEnd().split("\n").at(-1) ?? "";
    expect(command).toMatch(/ finetune .*--steps 100000 --json --resume$/);

    const resumed = await zeroth([...tune("tuned", "--json", "--resume"), "--steps", String(steps + 2)], cwd);
    expect(resumed.code, resumed.stderr).toBe(0);
    const later = jsonLines(resumed.stdout);
    expect(later.filter((line) => "step" in line).map(({ step }) => step)).toEqual([steps + 1, steps + 2]);
  });
});

describe("quickstart", () => {
  it("shows before and after, and can be run again in the same folder", async () => {
    const cwd = freshFolder();
    const { code, stdout, stderr } = await zeroth(["quickstart", "--steps", "4"], cwd);
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/Untuned: \d+\.\d% of 200 held-out rows/);
    expect(stdout).toMatch(/Tuned: +\d+\.\d% of the same rows right, after 4 steps/);
    expect(stdout.match(/before: \w+ [✓✗] {3}after: \w+ [✓✗]/g)).toHaveLength(3);
    expect(stdout).toMatch(/ finetune --model \S+ --data reviews\.jsonl/);
    for (const name of ["adapter_model.safetensors", "run/loss.svg"]) {
      expect(stdout).toContain(join("zeroth-quickstart", name));
      expect(existsSync(join(cwd, "zeroth-quickstart", name))).toBe(true);
    }

    const again = await zeroth(["quickstart", "--steps", "2", "--json"], cwd);
    expect(again.code, again.stderr).toBe(0);
    expect(jsonLines(again.stdout).at(-1)).toMatchObject({ total: 200, steps: 2, untuned: expect.any(Number) });
  });

  it("does not touch a folder that it did not make", async () => {
    const cwd = freshFolder();
    expect((await zeroth(tune("mine", "--steps", "1"), cwd)).code).toBe(0);
    const before = picture(join(cwd, "mine"));
    const { code, stderr } = await zeroth(["quickstart", "--steps", "1", "--out", "mine"], cwd);
    expect(code).toBe(1);
    expect(stderr).toContain("mine");
    expect(picture(join(cwd, "mine"))).toEqual(before);
  });
});

describe("the other commands", () => {
  it("evaluate, predict, replay and merge agree on a tuned adapter", async () => {
    const cwd = freshFolder();
    const tuned = await zeroth(tune("tuned", "--steps", "2"), cwd);
    expect(tuned.code, tuned.stderr).toBe(0);
    const model = ["--model", seedling];

    const predicted = await zeroth(["predict", ...model, "--adapter", "tuned", ...task, "--data", rows], cwd);
    expect(predicted.code, predicted.stderr).toBe(0);
    const answers = jsonLines(predicted.stdout);
    expect(answers).toHaveLength(200);
    for (const { prediction, scores } of answers) {
      const { sad, happy } = scores as { sad: number; happy: number };
      expect(sad + happy).toBeCloseTo(1, 6);
      expect(prediction).toBe(happy > sad ? "happy" : "sad");
    }

    const evaluated = await zeroth(
      ["evaluate", ...model, "--adapter", "tuned", ...task, "--data", rows, "--json"],
      cwd,
    );
    const measured = jsonLines(evaluated.stdout).at(-1);
    const correct = answers.filter(({ prediction, label }) => prediction === label).length;
    expect(measured).toMatchObject({ metric: "accuracy", correct, total: 200, value: correct / 200 });

    const replayed = await zeroth(["replay", ...model, "--run", "tuned", "--out", "again", "--json"], cwd);
    expect(replayed.code, replayed.stderr).toBe(0);
    expect(jsonLines(replayed.stdout).at(-1)).toMatchObject({ step: 2, out: "again" });
    const weights = (folder: string) => readFileSync(join(cwd, folder, "adapter_model.safetensors"));
    expect(weights("again").equals(weights("tuned"))).toBe(true);

    const merged = await zeroth(["merge", ...model, "--adapter", "tuned", "--out", "merged", "--json"], cwd);
    expect(merged.code, merged.stderr).toBe(0);
    const whole = await zeroth(["evaluate", "--model", "merged", ...task, "--data", rows, "--json"], cwd);
    expect(jsonLines(whole.stdout).at(-1)).toMatchObject({ total: 200, correct });
  });
});
