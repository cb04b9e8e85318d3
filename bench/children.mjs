// The processes that figures are measured in: each a script of this folder that prints JSON on its last line.
import { execFile, execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root, rowsFile } from "./setup.mjs";

export const THREADS = 2;
export const ROWS = 16;

const lastJson = (text) => JSON.parse(text.trim().split("\n").at(-1));
export const flagsOf = (options) =>
  Object.entries(options).flatMap(([name, value]) => (value === true ? [`--${name}`] : [`--${name}`, String(value)]));

/** Runs a script of ours and reads what it prints. */
export const child = (script, args, env = {}) =>
  lastJson(
    execFileSync(process.execPath, [join(root, script), ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
      maxBuffer: 2 ** 26,
      env: { ...process.env, ...env },
    }),
  );

/** As `child`, beside others. */
export const childBeside = (script, args) =>
  new Promise((resolve, reject) => {
    const options = { encoding: "utf8", maxBuffer: 2 ** 26 };
    const started = execFile(process.execPath, [join(root, script), ...args], options, (error, out) =>
      error === null ? resolve(lastJson(out)) : reject(error),
    );
    started.stderr.pipe(process.stderr);
  });

/** A function that remembers what it gave, by its arguments. */
export const memo = (work) => {
  const known = new Map();
  return (...args) => {
    const key = JSON.stringify(args);
    if (!known.has(key)) known.set(key, work(...args));
    return known.get(key);
  };
};

/** Steps against evaluation forwards: see step.mjs. */
export const step = ({ model, rows, ...options }) => child("bench/step.mjs", [model, rows, ...flagsOf(options)]);

export const skip = (reason) => ({ skipped: reason });
const python = process.env.ZEROTH_BENCH_PYTHON ?? "python3";

/** A PyTorch step on the same rows. */
export const peer = (model, options) => {
  const given = { model, "rows-file": rowsFile(ROWS), steps: 3, threads: THREADS, json: true, ...options };
  const { status, stdout, stderr } = spawnSync(python, [join(root, "bench/peers/mezo.py"), ...flagsOf(given)], {
    encoding: "utf8",
  });
  if (status === 0) return lastJson(stdout);
  return skip(
    status === 3
      ? "PyTorch and transformers are not installed (bench/peers/requirements.txt; ZEROTH_BENCH_PYTHON names the interpreter)"
      : `the peer failed: ${(stderr || "no python").trim().split("\n").at(-1)}`,
  );
};

/** `zeroth finetune`: its result, and the seconds from the command to its first step line. */
export const finetune = (options, env = {}) =>
  new Promise((resolve, reject) => {
    const out = mkdtempSync(join(tmpdir(), "zeroth-bench-"));
    const started = performance.now();
    const flags = flagsOf({ threads: THREADS, out, json: true, ...options });
    const run = spawn(process.execPath, [join(root, "bin/zeroth.js"), "finetune", ...flags], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, ...env },
    });
    let firstStep;
    let text = "";
    run.stdout.setEncoding("utf8");
    run.stdout.on("data", (chunk) => {
      text += chunk;
      if (firstStep === undefined && /^\{"step"/m.test(text)) firstStep = (performance.now() - started) / 1000;
    });
    run.on("exit", (code) => {
      rmSync(out, { recursive: true, force: true });
      if (code === 0 && firstStep !== undefined) resolve({ ...lastJson(text), firstStep });
      else reject(new Error(`zeroth finetune ended with ${code}`));
    });
  });
