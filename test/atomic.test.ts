import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { PARTIAL, writeFileAtomic } from "../src/atomic.js";
import { ZerothError } from "../src/errors.js";
import { temporary } from "./train/folder.js";

async function* chunks(count: number, failAt = Number.POSITIVE_INFINITY): AsyncGenerator<Uint8Array> {
  for (let index = 0; index < count; index += 1) {
    if (index === failAt) throw new Error("the source failed");
    yield Uint8Array.of(index, index);
  }
}

test("text, bytes and chunks replace what was there, and nothing else is left", async () => {
  const folder = temporary();
  const path = join(folder, "file");
  for (const [content, bytes] of [
    ["größer", [...Buffer.from("größer")]],
    [Uint8Array.of(1, 2, 3), [1, 2, 3]],
    [
      [Uint8Array.of(1), Uint8Array.of(), Uint8Array.of(2)],
      [1, 2],
    ],
    [chunks(3), [0, 0, 1, 1, 2, 2]],
    ["", []],
  ] as const) {
    await writeFileAtomic(path, content);
    expect([...readFileSync(path)]).toEqual(bytes);
    expect(readdirSync(folder)).toEqual(["file"]);
  }
});

test("a source that fails half way leaves the old file and no trace", async () => {
  const folder = temporary();
  const path = join(folder, "file");
  writeFileSync(path, "old");
  await expect(writeFileAtomic(path, chunks(5, 3))).rejects.toThrow("the source failed");
  expect(readFileSync(path, "utf8")).toBe("old");
  expect(readdirSync(folder)).toEqual(["file"]);
});

test.runIf(process.platform === "linux")("a full disk is told in few lines, and the old file stays", async () => {
  const folder = temporary();
  const path = join(folder, "file");
  writeFileSync(path, "old");
  symlinkSync("/dev/full", path + PARTIAL);
  const error = await writeFileAtomic(path, "new").then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(ZerothError);
  expect(String(error)).toMatch(/disk is full \(\d+ MiB free\): .*file could not be written/);
  expect(String(error).split("\n").length).toBeLessThanOrEqual(4);
  expect(readFileSync(path, "utf8")).toBe("old");
  expect(readdirSync(folder)).toEqual(["file"]);
});

test("a folder that is not there, or a name that is taken by a folder, is named", async () => {
  const folder = temporary();
  await expect(writeFileAtomic(join(folder, "absent", "file"), "x")).rejects.toThrow(join(folder, "absent", "file"));
  mkdirSync(join(folder, "taken", "inside"), { recursive: true });
  await expect(writeFileAtomic(join(folder, "taken"), "x")).rejects.toBeInstanceOf(ZerothError);
  expect(readdirSync(folder)).toEqual(["taken"]);
});
