import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, vi } from "vitest";
import { main } from "../../src/cli/main.js";

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

/** Nothing may be fetched, and colours stay off whatever runs the tests. */
const environment = (home: string) => ({
  ...{ HF_ENDPOINT: "http://127.0.0.1:9", HF_HOME: home, NO_COLOR: "1", DEBUG: "" },
});

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
    env: { ...process.env, ...environment(cwd) },
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

/** Runs the command line in this process, which is quick: for what ends before an engine would start. */
export const inside = async (args: readonly string[]): Promise<Outcome> => {
  const texts = { stdout: "", stderr: "" };
  const known = process.stdout.listeners("error");
  const spies = (["stdout", "stderr"] as const).map((name) =>
    vi.spyOn(process[name], "write").mockImplementation((text) => {
      texts[name] += String(text);
      return true;
    }),
  );
  for (const [name, value] of Object.entries(environment(freshFolder()))) vi.stubEnv(name, value);
  try {
    return { code: await main([process.execPath, script, ...args]), ...texts };
  } finally {
    for (const spy of spies) spy.mockRestore();
    vi.unstubAllEnvs();
    for (const listener of process.stdout.listeners("error")) {
      if (!known.includes(listener)) process.stdout.off("error", listener as () => void);
    }
  }
};

/** What every refusal has in common: few lines on standard error, no stack, nothing on standard output. */
export const refused = async (args: readonly string[], code: 1 | 2): Promise<string> => {
  const outcome = await inside(args);
  expect(outcome.code, outcome.stderr).toBe(code);
  expect(outcome.stdout).toBe("");
  expect(outcome.stderr.trimEnd().split("\n").length).toBeLessThanOrEqual(4);
  expect(outcome.stderr).not.toMatch(/^\s+at /m);
  expect(outcome.stderr).not.toContain("This is a bug");
  return outcome.stderr;
};

export const jsonLines = (text: string): Record<string, unknown>[] =>
  text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
