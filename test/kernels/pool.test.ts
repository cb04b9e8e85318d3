import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, it } from "vitest";
import { ZerothError } from "../../src/errors.js";
import { input } from "../../src/kernels/expr.js";
import { createKernelPool, type KernelPool } from "../../src/kernels/pool.js";
import type { Job, Op } from "../../src/kernels/program.js";
import { bitsOf, jobsOf, key, programOf, type RuleName, scalars } from "./tensors.js";

const program = programOf("curved", { distribution: "gaussian" });
const ops: readonly Op[] = [
  { kind: "perturb", key: key(1), scale: 1e-3 },
  { kind: "update", gradient: [{ key: key(1), scale: 2 }], curvature: [], scalars, step: 0 },
];
const sizes = [30_000, 1, 5_000, 12_345, 0, 700];
const fresh = (lengths = sizes, arenas = 8): readonly Job[] =>
  jobsOf(
    "curved",
    lengths.map((length) => [length, 1]),
    ops,
    arenas,
  );
const allBits = (jobs: readonly Job[]) => jobs.flatMap(bitsOf);

const open: KernelPool[] = [];
const poolOf = (threads: number, options: Parameters<typeof createKernelPool>[2] = {}, of = program): KernelPool => {
  const pool = createKernelPool(threads, of, { worthSharing: 0, ...options });
  open.push(pool);
  return pool;
};
afterEach(async () => {
  await Promise.all(open.splice(0).map((pool) => pool.close()));
});

const alone = () => {
  const jobs = fresh();
  poolOf(1).walk(jobs);
  return allBits(jobs);
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
    const [shared, single] = [fresh(), fresh()];
    const [pool, one] = [poolOf(threads), poolOf(1)];
    for (let walk = 0; walk < 3; walk++) {
      pool.walk(shared);
      one.walk(single);
    }
    expect(allBits(shared)).toEqual(allBits(single));
    expect(allBits(shared)).not.toEqual(allBits(fresh()));
  });

  const walks: readonly (readonly Op[])[] = [
    [{ kind: "mark" }, { kind: "norm", key: key(1) }, { kind: "perturb", key: key(1), scale: 1e-2 }],
    ...[1, 2, 3].map((step): readonly Op[] => [
      { kind: "perturb", key: key(1), scale: -1e-2 },
      {
        ...{ kind: "update", scalars, step },
        gradient: [0, 1, 2].map((query) => ({ key: key(step, query), scale: 0.3 - query })),
        curvature: [{ key: key(step), scale: 0.7 }],
      },
      { kind: "mark" },
      { kind: "norm", key: key(step + 1) },
      { kind: "perturb", key: key(step + 1, 1), scale: 1e-2 },
    ]),
  ];
  it.each<[RuleName]>([["factored"], ["chunked"], ["rowLines"], ["together"]])(
    "gives the same bits with 1, 2 and 3 threads where masks, planes, sums and lines are in play: %s",
    (name) => {
      const masked = programOf(name, { distribution: "gaussian", plane: true, mask: { sparsity: 0.3, interval: 2 } });
      // Rows of odd lengths, some of them longer than a tile.
      const shapes = [
        [3, 7001],
        [131, 41],
        [1, 1],
        [40, 64],
        [0, 3],
        [17_001, 1],
      ] as const;
      const [one, ...others] = [1, 2, 3].map((threads) => {
        const pool = poolOf(threads, {}, masked);
        const jobs = jobsOf(name, shapes, [], 4);
        for (const list of walks) pool.walk(jobs.map((job) => ({ ...job, ops: list })));
        return allBits(jobs);
      });
      for (const other of others) expect(other).toEqual(one);
      expect(one).not.toEqual(allBits(jobsOf(name, shapes, [], 4)));
    },
  );

  it("sends arenas away and puts them back, and no other memory goes with them", () => {
    const jobs = fresh(sizes, 2);
    const arenas = [...new Set(jobs.map(({ tensor }) => tensor.weight.arena))];
    const before = arenas.map(({ buffer }) => buffer);
    const lengths = before.map(({ byteLength }) => byteLength);
    poolOf(2).walk(jobs);
    expect(arenas.map(({ buffer }, i) => buffer === before[i])).toEqual([true, false]);
    expect(arenas.map(({ buffer }) => buffer.byteLength)).toEqual(lengths);
    expect(before[1]!.byteLength).toBe(0);
  });

  it("keeps a walk that is not worth sharing on the calling thread", () => {
    const jobs = fresh();
    const before = jobs.map(({ tensor }) => tensor.weight.arena.buffer);
    const start = () => {
      throw new Error("a thread was started");
    };
    poolOf(2, { worthSharing: 1e6, start }).walk(jobs);
    expect(jobs.every(({ tensor }, i) => tensor.weight.arena.buffer === before[i])).toBe(true);
    expect(allBits(jobs)).toEqual(alone());
  });

  it("says so when a thread fails, and refuses all further work", () => {
    const pool = poolOf(2);
    const jobs = fresh([1000, 500], 2).map((job, i) =>
      i === 0 ? job : { ...job, tensor: { ...job.tensor, states: [] } },
    );
    expect(() => pool.walk(jobs)).toThrow(/kernel thread failed \(a job needs weight, h, m.*\n.*--resume/);
    expect(() => pool.walk(fresh())).toThrow(ZerothError);
  });

  it("refuses when a thread ends in the middle of its work", () => {
    const dying =
      "process.once('exit', () => { Atomics.add(signal, 0, 1); Atomics.notify(signal, 0); }); port.on('message', () => process.exit(1));";
    expect(() => poolOf(2, { start: scripted(dying) }).walk(fresh())).toThrow(/ended in the middle of its work/);
  });

  it("refuses when a thread is silent for too long", () => {
    const silent = "port.on('message', () => {});";
    expect(() => poolOf(2, { start: scripted(silent), patience: 300 }).walk(fresh())).toThrow(/does not answer/);
  });

  it("waits for a thread that is slow but alive", () => {
    const slow = `port.on("message", (jobs) => {
      const until = Date.now() + 1500;
      while (Date.now() < until) Atomics.add(signal, 1, 1);
      const buffers = [...new Set(jobs.map(({ tensor }) => tensor.weight.arena.buffer))];
      port.postMessage({ buffers }, buffers);
      Atomics.add(signal, 0, 1);
      Atomics.notify(signal, 0);
    });`;
    expect(() => poolOf(2, { start: scripted(slow), patience: 400 }).walk(fresh())).not.toThrow();
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
    const jobs = fresh();
    pool.walk(jobs);
    expect(allBits(jobs)).toEqual(alone());
    await workers[0]!.terminate();
    expect(() => pool.walk(jobs)).toThrow(/has ended/);
    expect(allBits(jobs)).toEqual(alone());
  });

  it("refuses work once closed, and a program that it cannot compile at once", async () => {
    const pool = poolOf(2);
    pool.walk(fresh());
    await pool.close();
    expect(() => pool.walk(fresh())).toThrow(/closed/);
    expect(() => createKernelPool(2, { ...program, direction: input("velocity") })).toThrow(/velocity/);
  });
});
