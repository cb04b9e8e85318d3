import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** A folder of the test's own, removed after it. */
export const temporary = (): string => {
  const folder = mkdtempSync(join(tmpdir(), "zeroth-train-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
};
