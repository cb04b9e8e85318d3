import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const script = join(root, "bin", "zeroth.js");

export const seedling = join(root, "assets", "seedling");
export const rows = join(root, "assets", "quickstart");
/** The quickstart's task on the seedling, as flags. */
export const task = ["--prompt", "{text} {name} was so", "--options", " sad, happy", "--labels", "sad,happy"];

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const place = mkdtempSync(join(tmpdir(), "zeroth-cli-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));

export const freshFolder = (): string => mkdtempSync(join(place, "test-"));

/** A file of rows with some text in it. */
export const fileWith = (name: string, text: string): string => {
  const path = join(freshFolder(), name);
  writeFileSync(path, text);
  return path;
};

export const start = (
  args: readonly string[],
  cwd = freshFolder(),
): { child: ChildProcess; done: Promise<Outcome> } => {
  const child = spawn(process.execPath, [script, ...args], {
    cwd,
    // Nothing may be fetched, and colours stay off whatever runs the tests.
    env: { ...process.env, HF_ENDPOINT: "http://127.0.0.1:9", HF_HOME: cwd, NO_COLOR: "1", DEBUG: "" },
  });
  const texts = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      texts[name] += text;
    });
  }
  child.stdin.end();
  const done = new Promise<Outcome>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, ...texts }));
  });
  return { child, done };
};

/** Runs the built command line in a folder of its own. */
export const zeroth = (args: readonly string[], cwd?: string): Promise<Outcome> => start(args, cwd).done;

export const jsonLines = (text: string): Record<string, unknown>[] =>
  text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
