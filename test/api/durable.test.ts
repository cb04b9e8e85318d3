import { appendFileSync, existsSync, readdirSync, readFileSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { data, killed, place, result, seedling, small, task, tuned as tunedBy, zeroth } from "../runs.js";

/*
 * Nothing is lost: runs of the model that ships with Zeroth, killed at random moments, resumed, replayed. Everything goes through
 * the built command line, as a user's run would.
 */

const kinds = [
  { method: "lora", optimizer: "mezo", perturbation: "gaussian", rate: "1e-3", steps: 60, kills: 12 },
  { method: "full", optimizer: "hizoo", perturbation: "gaussian", rate: "1e-5", steps: 24, kills: 8 },
] as const;

for (const { method, optimizer, perturbation, rate, steps, kills } of kinds) {
  const settings = [
    ...task,
    ...small,
    "--method",
    method,
    "--optimizer",
    optimizer,
    "--perturbation",
    perturbation,
    "--learning-rate",
    rate,
    "--steps",
    String(steps),
    "--threads",
    "1",
  ];
  const calm = join(place, `calm-${method}`);
  const tuned = (out: string) => tunedBy(out, method);

  test(`${method}: killed ${kills} times and resumed, the weights are those of an undisturbed run`, {
    timeout: 240_000,
  }, async () => {
    expect(await zeroth(["finetune", ...settings, "--out", calm])).toMatchObject({ code: 0 });
    const whole = statSync(join(calm, "run/journal.zj")).size;
    const out = join(place, `killed-${method}`);
    let header = 0;
    for (let i = 0; i < kills; i++) {
      // Kills fall from before the first step to after the last, at no particular place in a step.
      const journal = join(out, "run/journal.zj");
      if (header === 0 && existsSync(journal)) header = statSync(journal).size;
      await killed(
        ["finetune", ...settings, "--out", out, "--resume"],
        out,
        header + ((whole - header) * (i + 0.37)) / kills,
      );
    }
    const last = await zeroth(["finetune", ...settings, "--out", out, "--resume"]);
    expect(last).toMatchObject({ code: 0 });
    expect(tuned(out)).toBe(tuned(calm));
    expect(readdirSync(out).filter((name) => name.endsWith(".safetensors"))).toEqual([result[method]]);
    // A finished run is left as it is.
    const before = statSync(join(out, result[method])).mtimeMs;
    expect(await zeroth(["finetune", ...settings, "--out", out, "--resume"])).toMatchObject({ code: 0 });
    expect(statSync(join(out, result[method])).mtimeMs).toBe(before);
  });

  test(`${method}: replay gives the trained weights bit for bit, from any step, with one kernel thread and two`, {
    timeout: 120_000,
  }, async () => {
    for (const threads of ["1", "2"]) {
      const out = join(place, `replay-${method}-${threads}`);
      expect(
        await zeroth(["replay", "--model", seedling, "--run", calm, "--out", out, "--threads", threads]),
      ).toMatchObject({ code: 0 });
      expect(tuned(out)).toBe(tuned(calm));
    }
    // An undisturbed shorter run ends where the replay of that step does.
    const short = join(place, `short-${method}`);
    const fewer = settings.map((value, i) =>
      settings[i - 1] === "--steps" ? "9" : settings[i - 1] === "--eval-every" ? "0" : value,
    );
    expect(await zeroth(["finetune", ...fewer, "--out", short])).toMatchObject({ code: 0 });
    const ninth = join(place, `ninth-${method}`);
    expect(await zeroth(["replay", "--model", seedling, "--run", calm, "--out", ninth, "--step", "9"])).toMatchObject({
      code: 0,
    });
    expect(tuned(ninth)).toBe(tuned(short));
  });
}

test("a torn last record is dropped and told, and its step is taken again", { timeout: 60_000 }, async () => {
  const out = join(place, "torn");
  const settings = [...task, ...small, "--steps", "30", "--threads", "1", "--out", out];
  await killed(["finetune", ...settings], out, 1500);
  const journal = join(out, "run/journal.zj");
  expect(existsSync(join(out, result.lora))).toBe(false);
  truncateSync(journal, statSync(journal).size - 5);
  const { code, out: told } = await zeroth(["finetune", ...settings, "--resume"]);
  expect(code).toBe(0);
  expect(told).toContain("torn");
});

test("a run refuses to go on with other options, data or base, and says which", { timeout: 60_000 }, async () => {
  const out = join(place, "refuses");
  const settings = [...task, ...small, "--steps", "40", "--threads", "1", "--out", out];
  await killed(["finetune", ...settings], out, 1500);
  // Only what the killed process held or was in the middle of writing goes.
  const picture = () =>
    readdirSync(out, { recursive: true })
      .filter((name) => !/lock\.|\.partial$/.test(String(name)))
      .sort()
      .join();
  const before = picture();
  const rate = await zeroth(["finetune", ...settings, "--learning-rate", "0.5", "--resume"]);
  expect(rate.code).toBe(1);
  expect(rate.err).toContain("--learning-rate");
  const otherData = join(place, "other.jsonl");
  appendFileSync(otherData, `${readFileSync(join(data, "train.jsonl"), "utf8").split("\n").slice(1, 90).join("\n")}\n`);
  const other = await zeroth([
    "finetune",
    ...settings.map((value, i) => (settings[i - 1] === "--data" ? otherData : value)),
    "--resume",
  ]);
  expect(other.code).toBe(1);
  expect(other.err).toContain("the data");
  expect(picture()).toBe(before);
});
