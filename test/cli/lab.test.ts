import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { freshFolder, inside, jsonLines, refused } from "./zeroth.js";

const names = ["trajectories", "conditioning", "noise", "epsilon", "variance"];

describe("lab", () => {
  it("lists what there is, and measures nothing", async () => {
    const { code, stdout } = await inside(["lab", "--list"]);
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split("\n");
    for (const name of names) expect(lines.some((line) => line.startsWith(`${name} `))).toBe(true);
    const { stdout: json } = await inside(["lab", "--list", "--json"]);
    expect(jsonLines(json).map(({ experiment }) => experiment)).toEqual(names);
  });

  it("tells machines a measurement a line, then the files", async () => {
    const out = join(freshFolder(), "pictures");
    const args = ["lab", "trajectories,epsilon".split(",")].flat();
    const { code, stdout, stderr } = await inside([
      ...args,
      "--optimizers",
      "mezo, zo-sign",
      "--steps",
      "3",
      "--out",
      out,
      "--json",
    ]);
    expect(code, stderr).toBe(0);
    const lines = jsonLines(stdout);
    const measured = lines.filter(({ type }) => type === "measurement");
    expect(
      measured.filter(({ experiment }) => experiment === "trajectories").map(({ optimizer }) => optimizer),
    ).toEqual(Array(3).fill(["mezo", "zo-sign"]).flat());
    expect(measured.filter(({ experiment }) => experiment === "epsilon")).toHaveLength(5 * 13);
    const files = ["trajectories", "epsilon"].map((name) => join(out, `${name}.svg`));
    expect(lines.at(-1)).toEqual({ type: "done", files });
    expect(files.every(existsSync)).toBe(true);
  });

  it("tells people a table, aligned", async () => {
    const args = ["--optimizers", "mezo", "--steps", "3", "--out", join(freshFolder(), "o")];
    const { code, stdout } = await inside(["lab", "trajectories", ...args]);
    expect(code).toBe(0);
    const [title, heading = "", ...lines] = stdout.split("\n");
    expect(title).toBe("trajectories");
    const column = heading.indexOf("learning rate");
    for (const [i, name] of ["valley", "corner", "ravine"].entries()) {
      expect(lines[i]).toMatch(new RegExp(`^${name} +mezo +\\d`));
      expect(lines[i]!.slice(column)).toMatch(/^\d/);
    }
    expect(stdout).toContain("trajectories.svg");
  });

  it("refuses what there is not", async () => {
    const out = join(freshFolder(), "o");
    expect(await refused(["lab", "trajectory", "--out", out], 2)).toContain("no experiment trajectory");
    expect(await refused(["lab", "noise", "--optimizers", "adam", "--out", out], 2)).toContain("no optimizer adam");
    expect(await refused(["lab", "--steps", "0", "--out", out], 2)).toContain("--steps");
    expect(existsSync(out)).toBe(false);
  });
});
