import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { PARTIAL, writeError } from "../atomic.js";
import { ZerothError } from "../errors.js";
import { type Journal, readJournal } from "./journal.js";

/** Where a run keeps what. The adapter (or model) itself goes to the top of the folder, everything else under `run/`. */
export const runPaths = (out: string) => {
  const folder = join(out, "run");
  return {
    out,
    /** Also TensorBoard's log folder. */
    folder,
    journal: join(folder, "journal.zj"),
    /** For people; the journal's header is what counts. */
    options: join(folder, "options.json"),
    /** What a set starts from, where the model computes it. */
    start: join(folder, "start.safetensors"),
    metrics: join(folder, "metrics.jsonl"),
    chart: join(folder, "loss.svg"),
    snapshots: join(folder, "snapshots"),
    /** Snapshot of the weights that were best on the dev rows. */
    best: join(folder, "best"),
  } as const;
};
export type RunPaths = ReturnType<typeof runPaths>;

export type RunState =
  | { readonly kind: "empty" }
  | { readonly kind: "unfinished"; readonly journal: Journal }
  | { readonly kind: "finished"; readonly journal: Journal }
  /** Files, some of which are named, and no run of ours. */
  | { readonly kind: "foreign"; readonly files: readonly string[] };

/**
 * What an output folder holds. A run that was killed before its journal existed counts as empty.
 *
 * @throws ZerothError when `out` is a file, cannot be read, or holds a damaged journal
 */
export const inspectRun = (out: string): RunState => {
  const { journal: path, folder } = runPaths(out);
  const info = statSync(out, { throwIfNoEntry: false });
  if (info === undefined) return { kind: "empty" };
  if (!info.isDirectory()) throw new ZerothError(`--out ${out} is a file.\nGive a folder.`, { kind: "usage" });
  if (existsSync(path)) {
    const journal = readJournal(path);
    return { kind: journal.finished === undefined ? "unfinished" : "finished", journal };
  }
  const files = readdirSync(out).filter((name) => !name.startsWith(".") && join(out, name) !== folder);
  return files.length === 0 ? { kind: "empty" } : { kind: "foreign", files: files.sort().slice(0, 3) };
};

const attempt = <T>(read: () => T): T | undefined => {
  try {
    return read();
  } catch {
    return undefined;
  }
};

/**
 * When a process started, as a word that no later process with the same id shares: the boot's id and the clock ticks since.
 * Undefined where the system does not tell (other than Linux); the id alone must do there.
 */
const startOf = (pid: number): string | undefined => {
  const stat = attempt(() => readFileSync(`/proc/${pid}/stat`, "utf8"));
  if (stat === undefined) return undefined;
  // The command's name, in parentheses, may hold anything; the start time is the 20th field after it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (fields[0] === "Z" || fields[0] === "X") return "dead";
  const boot = attempt(() => readFileSync("/proc/sys/kernel/random/boot_id", "utf8").slice(0, 8)) ?? "";
  return `${boot}-${fields[19]}`;
};

const isLive = (pid: number, start: string): boolean => {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it lives, and is someone else's.
    if (!(error instanceof Error && "code" in error && error.code === "EPERM")) return false;
  }
  const now = startOf(pid);
  return now === undefined || now === start;
};

const host = encodeURIComponent(hostname());
const LOCK = /^lock\.(.+)\.(\d+)\.([\w-]+)$/;

export interface RunLock {
  /** A line to tell when a run that was killed had left its lock. */
  readonly recovered: string | undefined;
  release(): void;
}

/**
 * Makes sure that no two processes write one run. A lock is an empty file whose name says who holds it, so it can be
 * neither torn nor taken over by two at once: each newcomer first shows its own, then looks for others. Those of dead
 * processes are removed.
 *
 * @throws ZerothError when another live process holds the folder
 */
export const lockRun = (out: string): RunLock => {
  const { folder } = runPaths(out);
  const own = `lock.${host}.${process.pid}.${startOf(process.pid) ?? "unknown"}`;
  const path = join(folder, own);
  try {
    mkdirSync(folder, { recursive: true });
    writeFileSync(path, "", { flag: "wx" });
  } catch (error) {
    if (existsSync(path))
      throw new ZerothError(`A run of this very process is writing to ${out}.\nGive another --out.`);
    throw writeError(folder, error);
  }
  let recovered: string | undefined;
  for (const name of readdirSync(folder)) {
    const [, where, pid, start] = LOCK.exec(name) ?? [];
    if (name === own || where === undefined || pid === undefined || start === undefined) continue;
    if (where === host && !isLive(Number(pid), start)) {
      rmSync(join(folder, name), { force: true });
      recovered = `The run in ${out} was left by process ${pid}, which is gone; its lock was removed.`;
      continue;
    }
    rmSync(path, { force: true });
    throw new ZerothError(
      `${out} is being written by process ${pid}${where === host ? "" : ` on ${decodeURIComponent(where)}`}.\n` +
        (where === host
          ? "Wait for it or stop it, then go on with --resume; or give another --out."
          : `If it is gone, delete ${join(folder, name)} and go on with --resume.`),
    );
  }
  return { recovered, release: () => rmSync(path, { force: true }) };
};

/** Removes what a killed process was in the middle of writing. Call it under the lock. */
const sweepRun = (out: string): void => {
  const { folder, snapshots, best } = runPaths(out);
  for (const place of [out, folder, snapshots, best]) {
    for (const name of attempt(() => readdirSync(place)) ?? []) {
      if (name.endsWith(PARTIAL)) rmSync(join(place, name), { force: true });
    }
  }
};

export interface RunFolder {
  readonly paths: RunPaths;
  /** Never foreign. A finished run is not locked. */
  readonly state: Exclude<RunState, { kind: "foreign" }>;
  /** Things worth telling: a stale lock, a torn record. */
  readonly notes: readonly string[];
  release(): void;
}

/**
 * Takes an output folder for a run: a fresh one, or with `resume` one that may hold a run of ours.
 *
 * @throws ZerothError when it holds a run and `resume` is not given, when it holds other files, or when it is in use
 */
export const openRunFolder = (out: string, { resume }: { resume: boolean }): RunFolder => {
  const accept = (state: RunState): RunFolder["state"] => {
    if (state.kind === "foreign") {
      throw new ZerothError(
        `--out ${out} holds other files (${state.files.join(", ")}).\nGive an empty or new folder.`,
      );
    }
    if (state.kind !== "empty" && !resume) {
      const { stepCount } = state.journal;
      throw new ZerothError(
        `--out ${out} already holds ${state.kind === "finished" ? "a finished" : "an unfinished"} run of ${stepCount} steps.\n` +
          "Go on with it by --resume, or give another folder.",
      );
    }
    return state;
  };
  const before = accept(inspectRun(out));
  const paths = runPaths(out);
  if (before.kind === "finished") return { paths, state: before, notes: [], release: () => undefined };
  const lock = lockRun(out);
  try {
    // Whoever held it until a moment ago may have gone on.
    const state = accept(inspectRun(out));
    sweepRun(out);
    const torn = state.kind === "empty" ? 0 : state.journal.tornBytes;
    const dropped =
      torn === 0
        ? undefined
        : `The last record of ${paths.journal} was torn (${torn} bytes) and is dropped; its step is taken again.`;
    return {
      paths,
      state,
      notes: [lock.recovered, dropped].filter((note) => note !== undefined),
      release: lock.release,
    };
  } catch (error) {
    lock.release();
    throw error;
  }
};
