import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";

/* Runs of the built command line, as a user's would be, and ways to end them. */

const root = fileURLToPath(new URL("..", import.meta.url));
export const place = mkdtempSync(join(tmpdir(), "zeroth-runs-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));

export const seedling = join(root, "assets/seedling");
export const data = join(root, "assets/quickstart");
const question = ["--prompt", "{text} {name} was so", "--options", " sad, happy", "--labels", "sad,happy"];
const taskOn = (model: string): readonly string[] => ["--model", model, "--data", data, ...question];
export const task = taskOn(seedling);
export const small = ["--train-rows", "40", "--dev-rows", "12", "--batch-size", "4", "--eval-every", "4"];

/** @param shell what is set before the command: limits of a process */
const start = (args: readonly string[], shell = ""): ChildProcess => {
  const command = [process.execPath, join(root, "bin/zeroth.js"), ...args];
  const [file = "", ...rest] = shell === "" ? command : ["bash", "-c", `${shell}; exec "$@"`, "zeroth", ...command];
  return spawn(file, rest, { stdio: ["ignore", "pipe", "pipe"] });
};

export const zeroth = (
  args: readonly string[],
  shell?: string,
): Promise<{ code: number | null; out: string; err: string }> =>
  new Promise((resolve) => {
    const child = start(args, shell);
    let out = "";
    let err = "";
    child.stdout?.on("data", (chunk) => {
      out += chunk;
    });
    child.stderr?.on("data", (chunk) => {
      err += chunk;
    });
    child.on("close", (code) => resolve({ code, out, err }));
  });

/** Starts a run and kills it (SIGKILL) when its journal has grown past `bytes`. */
export const killed = (args: readonly string[], out: string, bytes: number): Promise<void> =>
  new Promise((resolve) => {
    const child = start(args);
    const journal = join(out, "run/journal.zj");
    const timer = setInterval(() => {
      if (existsSync(journal) && statSync(journal).size >= bytes) child.kill("SIGKILL");
    }, 1);
    child.on("close", () => {
      clearInterval(timer);
      resolve();
    });
  });

const hash = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");
export const result = { lora: "adapter_model.safetensors", full: "model.safetensors" } as const;
export type Kind = keyof typeof result;
export const tuned = (out: string, kind: Kind): string => hash(join(out, result[kind]));
