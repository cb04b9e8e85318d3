import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { ZerothError } from "../../src/errors.js";
import { createJournal, reopenJournal } from "../../src/train/journal.js";
import { inspectRun, lockRun, openRunFolder, runPaths } from "../../src/train/run-folder.js";
import { temporary } from "./folder.js";
import { header, record } from "./header.js";

const start = async (out: string, steps: number): Promise<void> => {
  mkdirSync(runPaths(out).folder, { recursive: true });
  const writer = await createJournal(runPaths(out).journal, header);
  for (let step = 0; step < steps; step += 1) writer.append(record(step));
  writer.close();
};

const finish = (out: string): void => {
  const { writer, journal } = reopenJournal(runPaths(out).journal);
  const step = journal.stepCount;
  writer.note({
    note: "finished",
    step,
    keptStep: step,
    outcome: "finished",
    loss: 1,
    secondsPerStep: 1,
    peakRssBytes: 1,
  });
  writer.close();
};

const locks = (out: string): readonly string[] =>
  readdirSync(runPaths(out).folder).filter((name) => name.startsWith("lock."));

/** Another process of this machine, alive until the test ends. */
const neighbour = async (): Promise<number> => {
  const child = spawn(process.execPath, ["-e", "console.log(1); setInterval(() => {}, 1e6)"]);
  onTestFinished(() => void child.kill("SIGKILL"));
  await once(child.stdout, "data");
  return child.pid ?? 0;
};

/** A name as another holder's lock would have it. */
const lockName = (out: string, change: (pid: string, start: string, host: string) => string): string => {
  const lock = lockRun(out);
  const [, host = "", pid = "", began = ""] = /^lock\.(.+)\.(\d+)\.([\w-]+)$/.exec(locks(out)[0] ?? "") ?? [];
  lock.release();
  return change(pid, began, host);
};

test("states: absent, empty, killed before its journal, unfinished, finished, foreign, a file", async () => {
  const out = join(temporary(), "out");
  expect(inspectRun(out)).toEqual({ kind: "empty" });
  mkdirSync(runPaths(out).folder, { recursive: true });
  writeFileSync(join(out, ".DS_Store"), "");
  expect(inspectRun(out)).toEqual({ kind: "empty" });
  await start(out, 3);
  writeFileSync(join(out, "adapter_config.json"), "{}");
  expect(inspectRun(out)).toMatchObject({ kind: "unfinished", journal: { stepCount: 3 } });
  finish(out);
  expect(inspectRun(out)).toMatchObject({ kind: "finished", journal: { finished: { keptStep: 3 } } });
  rmSync(runPaths(out).folder, { recursive: true });
  expect(inspectRun(out)).toEqual({ kind: "foreign", files: ["adapter_config.json"] });
  expect(() => openRunFolder(out, { resume: true })).toThrow("adapter_config.json");
  expect(() => inspectRun(join(out, "adapter_config.json"))).toThrow("is a file");
});

test("a run is refused without --resume and taken up with it", async () => {
  const out = join(temporary(), "out");
  const fresh = openRunFolder(out, { resume: true });
  expect(fresh.state.kind).toBe("empty");
  fresh.release();
  await start(out, 3);
  expect(() => openRunFolder(out, { resume: false })).toThrow(/holds an unfinished run of 3 steps.*\n.*--resume/);
  const again = openRunFolder(out, { resume: true });
  expect(again).toMatchObject({ state: { kind: "unfinished" }, notes: [] });
  again.release();
  expect(locks(out)).toEqual([]);
  finish(out);
  expect(() => openRunFolder(out, { resume: false })).toThrow("a finished run");
  // A finished run is only looked at, and may lie in a folder that cannot be written.
  expect(openRunFolder(out, { resume: true }).state.kind).toBe("finished");
  expect(locks(out)).toEqual([]);
});

test("a refusal leaves no lock behind", async () => {
  const out = temporary();
  await start(out, 1);
  writeFileSync(runPaths(out).journal, "rubbish, longer than a magic");
  expect(() => openRunFolder(out, { resume: true })).toThrow(ZerothError);
  expect(locks(out)).toEqual([]);
});

test("a second run in one process is refused; a lock of a process that is gone is recovered, and said", async () => {
  const out = temporary();
  const pid = await neighbour();
  const lock = lockRun(out);
  expect(() => lockRun(out)).toThrow("this very process");
  lock.release();
  const mine = lockName(out, (_pid, began, host) => `lock.${host}.${process.pid}.${began}`);
  const place = runPaths(out).folder;

  if (process.platform === "linux") {
    // The neighbour's id, but a start of another time: the id of a dead process was given out again.
    writeFileSync(join(place, mine.replace(`.${process.pid}.`, `.${pid}.`)), "");
    const recovered = lockRun(out);
    expect(recovered.recovered).toContain(`process ${pid}`);
    expect(locks(out)).toEqual([mine]);
    recovered.release();
  }

  writeFileSync(join(place, mine.replace(`.${process.pid}.`, ".999999999.")), "");
  const folder = openRunFolder(out, { resume: true });
  expect(folder.notes.join()).toContain("process 999999999, which is gone");
  folder.release();
  expect(locks(out)).toEqual([]);
});

test("another machine's lock is respected, with the file to delete named", () => {
  const out = temporary();
  const name = lockName(out, (pid, began) => `lock.elsewhere.example.${pid}.${began}`);
  writeFileSync(join(runPaths(out).folder, name), "");
  expect(() => lockRun(out)).toThrow(new RegExp(`on elsewhere\\.example\\.\n.*${name}`));
  expect(locks(out)).toEqual([name]);
});

test("two live processes: the second is refused, and goes on when the first was killed", async () => {
  const out = temporary();
  const script = `import { lockRun } from ${JSON.stringify(new URL("../../dist/train/run-folder.js", import.meta.url).href)};
    lockRun(${JSON.stringify(out)}); console.log("held"); setInterval(() => {}, 1e6);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  await once(child.stdout, "data");
  expect(() => openRunFolder(out, { resume: true })).toThrow(`being written by process ${child.pid}`);
  expect(locks(out)).toHaveLength(1);
  child.kill("SIGKILL");
  await once(child, "exit");
  const folder = openRunFolder(out, { resume: true });
  expect(folder.notes).toHaveLength(1);
  folder.release();
});

test("what a killed process was writing is swept, and a torn record is told", async () => {
  const out = temporary();
  await start(out, 2);
  const { journal, folder } = runPaths(out);
  writeFileSync(journal, Uint8Array.of(9, 9, 9), { flag: "a" });
  for (const name of [join(out, "adapter_model.safetensors.partial"), join(folder, "loss.svg.partial")])
    writeFileSync(name, "");
  writeFileSync(join(out, "kept.txt"), "");
  const run = openRunFolder(out, { resume: true });
  expect(run.notes).toEqual([expect.stringContaining("torn (3 bytes)")]);
  expect(readdirSync(out).sort()).toEqual(["kept.txt", "run"]);
  expect(existsSync(join(folder, "loss.svg.partial"))).toBe(false);
  run.release();
});
