import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, it } from "vitest";
import { ZerothError } from "../../src/errors.js";
import { allocate, floatsOf } from "../../src/kernels/arena.js";
import { add, input, mul, scalar, sub } from "../../src/kernels/expr.js";
import { createKernelPool, type KernelPool } from "../../src/kernels/pool.js";
import type { Job, Op, Program } from "../../src/kernels/walk.js";
import { type Key, tensorId } from "../../src/random/key.js";

const key = (step: number): Key => ({ seed: 9n, stream: "noise", step, query: 0 });
const program: Program = {
  distribution: "gaussian",
  direction: input("z"),
  apply: { m: add(input("m"), input("g")), weight: sub(input("weight"), mul(scalar("rate"), input("m"))) },
  states: ["m"],
};
const ops: readonly Op[] = [
  { kind: "perturb", key: key(1), scale: 1e-3 },
  { kind: "update", gradient: [{ key: key(1), scale: 2 }], curvature: [], scalars: { rate: 0.1 } },
];
const sizes = [30_000, 1, 5_000, 12_345, 0, 700];
const jobsOf = (lengths = sizes, arenas = 8): Job[] =>
  allocate(
    lengths.map((length) => [length, length]),
    arenas,
  ).map(([weight, state], i) => {
    floatsOf(weight!).forEach((_, k, all) => {
      all[k] = Math.cos(k);
    });
    floatsOf(state!).fill(0.5);
    return { tensor: tensorId(`tensor ${i}`), weight: weight!, states: [state!], ops };
  });
const bytesOf = (jobs: readonly Job[]) =>
  jobs.flatMap(({ weight, states }) =>
    [weight, ...states].map((slab) => Buffer.from(new Uint8Array(floatsOf(slab).slice().buffer)).toString("base64")),
  );

const open: KernelPool[] = [];
const poolOf = (threads: number, options: Parameters<typeof createKernelPool>[2] = {}): KernelPool => {
  const pool = createKernelPool(threads, program, { worthSharing: 0, ...options });
  open.push(pool);
  return pool;
};
afterEach(async () => {
  await Promise.all(open.splice(0).map((pool) => pool.close()));
});

const alone = () => {
  const jobs = jobsOf();
  poolOf(1).walk(jobs);
  return bytesOf(jobs);
};
/** A thread that runs `script`, which sees the kernel thread's `port` and `signal`. */
const scripted = (script: string) => (thread: { port: unknown }) =>
  new Worker(`const { workerData: { port, signal } } = require("node:worker_threads"); ${script}`, {
    eval: true,
    workerData: thread,
    transferList: [thread.port as never],
  });

describe("a kernel pool", () => {
  it.each([2, 3, 8])("gives the same bits with %d threads as with one, walk after walk", (threads) => {
    const [shared, single] = [jobsOf(), jobsOf()];
    const [pool, one] = [poolOf(threads), poolOf(1)];
    for (let walk = 0; walk < 3; walk++) {
      pool.walk(shared);
      one.walk(single);
    }
    expect(bytesOf(shared)).toEqual(bytesOf(single));
    expect(bytesOf(shared)).not.toEqual(bytesOf(jobsOf()));
  });

  it("sends arenas away and puts them back, and no other memory goes with them", () => {
    const jobs = jobsOf(sizes, 2);
    const arenas = [...new Set(jobs.map(({ weight }) => weight.arena))];
    const before = arenas.map(({ buffer }) => buffer);
    const lengths = before.map(({ byteLength }) => byteLength);
    poolOf(2).walk(jobs);
    expect(arenas.map(({ buffer }, i) => buffer === before[i])).toEqual([true, false]);
    expect(arenas.map(({ buffer }) => buffer.byteLength)).toEqual(lengths);
    expect(before[1]!.byteLength).toBe(0);
  });

  it("keeps a walk that is not worth sharing on the calling thread", () => {
    const jobs = jobsOf();
    const before = jobs.map(({ weight }) => weight.arena.buffer);
    const start = () => {
      throw new Error("a thread was started");
    };
    poolOf(2, { worthSharing: 1e6, start }).walk(jobs);
    expect(jobs.every(({ weight }, i) => weight.arena.buffer === before[i])).toBe(true);
    expect(bytesOf(jobs)).toEqual(alone());
  });

  it("says so when a thread fails, and refuses all further work", () => {
    const pool = poolOf(2);
    const jobs = jobsOf([1000, 500], 2).map((job, i) => (i === 0 ? job : { ...job, states: [] }));
    expect(() => pool.walk(jobs)).toThrow(/kernel thread failed \(a job needs weight, m.*\n.*--resume/);
    expect(() => pool.walk(jobsOf())).toThrow(ZerothError);
  });

  it("refuses when a thread ends in the middle of its work", () => {
    const dying =
      "process.once('exit', () => { Atomics.add(signal, 0, 1); Atomics.notify(signal, 0); }); port.on('message', () => process.exit(1));";
    expect(() => poolOf(2, { start: scripted(dying) }).walk(jobsOf())).toThrow(/ended in the middle of its work/);
  });

  it("refuses when a thread is silent for too long", () => {
    const silent = "port.on('message', () => {});";
    expect(() => poolOf(2, { start: scripted(silent), patience: 300 }).walk(jobsOf())).toThrow(/does not answer/);
  });

  it("waits for a thread that is slow but alive", () => {
    const slow = `port.on("message", (jobs) => {
      const until = Date.now() + 1500;
      while (Date.now() < until) Atomics.add(signal, 1, 1);
      const buffers = [...new Set(jobs.map(({ weight }) => weight.arena.buffer))];
      port.postMessage({ buffers }, buffers);
      Atomics.add(signal, 0, 1);
      Atomics.notify(signal, 0);
    });`;
    expect(() => poolOf(2, { start: scripted(slow), patience: 400 }).walk(jobsOf())).not.toThrow();
  });

  it("refuses when a thread was killed between two walks", async () => {
    const workers: Worker[] = [];
    const start = (thread: { port: unknown }) => {
      const worker = new Worker(new URL("../../dist/kernels/kernel-worker.js", import.meta.url), {
        workerData: thread,
        transferList: [thread.port as never],
      });
      workers.push(worker);
      return worker;
    };
    const pool = poolOf(2, { start });
    const jobs = jobsOf();
    pool.walk(jobs);
    expect(bytesOf(jobs)).toEqual(alone());
    await workers[0]!.terminate();
    expect(() => pool.walk(jobs)).toThrow(/has ended/);
    expect(bytesOf(jobs)).toEqual(alone());
  });

  it("refuses work once closed, and a program that it cannot compile at once", async () => {
    const pool = poolOf(2);
    pool.walk(jobsOf());
    await pool.close();
    expect(() => pool.walk(jobsOf())).toThrow(/closed/);
    expect(() => createKernelPool(2, { ...program, direction: input("velocity") })).toThrow(/velocity/);
  });
});
