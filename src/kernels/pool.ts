import { MessageChannel, receiveMessageOnPort, Worker } from "node:worker_threads";
import { ZerothError } from "../errors.js";
import { workerUrl } from "../worker-url.js";
import type { Arena } from "./arena.js";
import type { KernelAnswer, KernelThread } from "./kernel-worker.js";
import type { Job, Program } from "./program.js";
import { wasmWalker } from "./walk.js";

/** Walks over many tensors, divided between threads. An arena is one thread's work, and bits do not depend on who does it. */
export interface KernelPool {
  /**
   * Does every job, in place, and returns when all are done. Arenas may hold other ArrayBuffers afterwards (the same memory, sent to
   * another thread and back).
   *
   * @throws ZerothError when a kernel thread fails; weights it held are lost, so that the pool refuses further work
   */
  walk(jobs: readonly Job[]): void;
  close(): Promise<void>;
}

interface PoolOptions {
  /** Elements times operations below which a walk stays on the calling thread: sending them takes milliseconds. */
  readonly worthSharing?: number;
  /** Milliseconds without a sign of life after which a thread is taken for dead; a tile takes microseconds. */
  readonly patience?: number;
  /** Starts a thread. */
  readonly start?: (thread: KernelThread) => Worker;
}

const startWorker = (thread: KernelThread): Worker =>
  new Worker(workerUrl("./kernel-worker.js", import.meta.url), {
    workerData: thread,
    transferList: [thread.port],
    resourceLimits: { maxYoungGenerationSizeMb: 2 },
  });

const arenasOf = (jobs: readonly Job[]): readonly Arena[] => [
  ...new Set(jobs.map(({ tensor }) => tensor.weight.arena)),
];
const sizeOf = ({ tensor }: Job): number => tensor.weight.length;

const failed = (what: string): ZerothError =>
  new ZerothError(
    `A kernel thread ${what}, and the weights it worked on went with it.\nThe run's journal holds every step: go on with --resume.`,
  );

/** Arenas in turn to the threads: an arena is one thread's work. */
const share = (jobs: readonly Job[], threads: number): readonly (readonly Job[])[] => {
  const arenas = arenasOf(jobs);
  return Array.from({ length: Math.min(threads, arenas.length) }, (_, thread) =>
    jobs.filter(({ tensor }) => arenas.indexOf(tensor.weight.arena) % threads === thread),
  );
};

const startThread = (program: Program, { patience = 30_000, start = startWorker }: PoolOptions) => {
  const { port1, port2 } = new MessageChannel();
  const signal = new Int32Array(new SharedArrayBuffer(8));
  const worker = start({ port: port2, signal, program });
  worker.unref();
  port1.unref();
  let ended = false;
  for (const event of ["exit", "error"]) {
    worker.on(event, () => {
      ended = true;
    });
  }
  /** Blocks until the thread has answered; events do not reach a thread that waits, so a silent death shows as silence. */
  const wait = (answers: number): void => {
    let tiles = Atomics.load(signal, 1);
    while (Atomics.wait(signal, 0, answers, patience) === "timed-out") {
      const now = Atomics.load(signal, 1);
      if (now === tiles) throw failed("does not answer");
      tiles = now;
    }
  };
  return {
    /** @returns a function that waits for the jobs and puts their arenas' buffers back */
    send(jobs: readonly Job[]): () => void {
      if (ended) throw failed("has ended");
      const answers = Atomics.load(signal, 0);
      const arenas = arenasOf(jobs);
      port1.postMessage(
        jobs,
        arenas.map(({ buffer }) => buffer),
      );
      return () => {
        wait(answers);
        const answer = receiveMessageOnPort(port1)?.message as KernelAnswer | undefined;
        if (answer === undefined) throw failed("ended in the middle of its work");
        if ("error" in answer) throw failed(`failed (${answer.error})`);
        for (const [i, arena] of arenas.entries()) arena.buffer = answer.buffers[i] ?? arena.buffer;
      };
    },
    close: () => worker.terminate(),
  };
};

/**
 * A pool of `threads` threads. The calling one is one of them and works too; the others start with the first walk that is worth
 * sharing. They take arenas by transfer, so nothing is copied.
 *
 * @throws ZerothError when an expression of the program reads or writes a name that it cannot
 */
export const createKernelPool = (threads: number, program: Program, options: PoolOptions = {}): KernelPool => {
  const { worthSharing = 2 ** 21 } = options;
  const own = wasmWalker(program);
  let others: ReturnType<typeof startThread>[] | undefined;
  let broken: unknown;

  const walkShared = (jobs: readonly Job[]): void => {
    others ??= Array.from({ length: threads - 1 }, () => startThread(program, options));
    const [mine = [], ...theirs] = share(jobs, threads);
    const receive = theirs.map((part, i) => others?.[i]?.send(part) ?? (() => {}));
    for (const job of mine) own.walk(job);
    for (const take of receive) take();
  };
  return {
    walk(jobs) {
      if (broken !== undefined) throw broken;
      const work = jobs.reduce((sum, job) => sum + job.ops.length * sizeOf(job), 0);
      try {
        if (threads > 1 && work >= worthSharing && arenasOf(jobs).length > 1) walkShared(jobs);
        else for (const job of jobs) own.walk(job);
      } catch (error) {
        broken = error;
        throw error;
      }
    },
    async close() {
      broken ??= new Error("the kernel pool is closed");
      await Promise.all((others ?? []).map((thread) => thread.close()));
    },
  };
};
