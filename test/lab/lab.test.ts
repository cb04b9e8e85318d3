import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { ZerothError } from "../../src/errors.js";
import { lab, listExperiments } from "../../src/lab/lab.js";
import { elements } from "../svg.js";

const place = mkdtempSync(join(tmpdir(), "zeroth-lab-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));

test("each picture is written, and told with its rows", async () => {
  const told: unknown[] = [];
  const out = join(place, "new", "pictures");
  const files = await lab({
    ...{ out, experiments: ["epsilon", "trajectories"], optimizers: ["mezo"], steps: 4 },
    onMeasured: (experiment, rows, file) => told.push([experiment, rows.length, file]),
  });
  expect(files).toEqual([join(out, "epsilon.svg"), join(out, "trajectories.svg")]);
  expect(told).toEqual([
    ["epsilon", 5 * 13, files[0]],
    ["trajectories", 3, files[1]],
  ]);
  for (const file of files) elements(readFileSync(file, "utf8"));
});

test("names that there are not are refused before anything is made or measured", async () => {
  const out = join(place, "unmade");
  const measured: string[] = [];
  const onProgress = (name: string) => measured.push(name);
  for (const [options, words] of [
    [{ experiments: ["variance", "varience"] }, /no experiment varience\. .*variance/],
    [{ experiments: ["constructor"] }, /no experiment constructor/],
    [{ experiments: ["variance"], optimizers: ["mezo", "hizo"] }, /no optimizer hizo\. .*hizoo/],
  ] as const) {
    const refused = await lab({ ...options, out, onProgress }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(ZerothError);
    expect(refused).toMatchObject({ kind: "usage", message: expect.stringMatching(words) });
  }
  expect(existsSync(out)).toBe(false);
  expect(measured).toEqual([]);
});

test("a folder that cannot be written is refused before anything is measured", async () => {
  const file = join(place, "file");
  writeFileSync(file, "");
  const measured: string[] = [];
  for (const out of [file, join(file, "below")]) {
    const refused = await lab({ out, onProgress: (name) => measured.push(name) }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(ZerothError);
    expect((refused as ZerothError).message).toContain(file);
  }
  expect(measured).toEqual([]);
  expect(readFileSync(file, "utf8")).toBe("");
});

test("every experiment is listed with a sentence", () => {
  for (const { experiment, summary } of listExperiments()) expect(summary.length, experiment).toBeGreaterThan(30);
});
