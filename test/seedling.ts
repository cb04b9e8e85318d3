import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";

/* The model that ships with Zeroth, its rows, and what is asked of them. */

export const asset = (name: string): string => fileURLToPath(new URL(`../assets/${name}`, import.meta.url));
export const question = { prompt: "{text} {name} was so", options: " sad, happy", labels: "sad,happy" } as const;
export const task = { data: asset("quickstart"), ...question } as const;

/** A place for a test file's folders, gone when its tests are done. */
export const scratch = (name: string) => {
  const place = mkdtempSync(join(tmpdir(), `zeroth-${name}-`));
  afterAll(() => rmSync(place, { recursive: true, force: true }));
  let folders = 0;
  return { place, fresh: (): string => join(place, String(folders++)) };
};
