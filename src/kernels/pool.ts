import { MessageChannel, receiveMessageOnPort, Worker } from "node:worker_threads";
import { ZerothError } from "../errors.js";
import { workerUrl } from "../worker-url.js";
import type { KernelAnswer, KernelThread } from "./kernel-worker.js";
import { type Job, type Program, type Slab, wasmWalker } from "./walk.js";

/** Walks over many tensors, divided between threads. A tensor is one thread's work, so bits do not depend on their number. */
export interface KernelPool {
  /**
   * Does every job, in place, and returns when all are done. Slabs may hold other ArrayBuffers afterwards (the same memory, sent to
   * another thread and back).
   *
   * @throws ZerothError when a kernel thread fails; weights it held are lost, so that the pool refuses further work
   */
  walk(jobs: readonly Job[]): void;
  close(): Promise<void>;
}

interface PoolOptions {
  /** Elements below which a walk stays on the calling thread: sending them takes longer. */
  readonly worthSharing?: number;
  /** Milliseconds without a sign of life after which a thread is taken for dead; a tile takes microseconds. */
  readonly patience?: number;
  /** Starts a thread. */
  readonly start?: (thread: KernelThread) => Worker;
}

const startWorker = (thread: KernelThread): Worker =>
  new Worker(workerUrl("./kernel-worker.js", import.meta.url), { workerData: thread, transferList: [thread.port] });

const slabsOf = (jobs: readonly Job[]): readonly Slab[] => jobs.flatMap(({ weight, states }) => [weight, ...states]);
const buffersOf = (jobs: readonly Job[]): ArrayBuffer[] => slabsOf(jobs).map(({ buffer }) => buffer);
const sizeOf = ({ weight }: Job): number => weight.buffer.byteLength / 4;

const failed = (what: string): ZerothError =>
  new ZerothError(
    `A kernel thread ${what}, and the weights it worked on went with it.\nThe run's journal holds every step: go on with --resume.`,
  );

/** Longest first, each to the thread with the least to do so far. */
const share = (jobs: readonly Job[], threads: number): readonly Job[][] => {
  const shares = Array.from({ length: threads }, () => ({ jobs: [] as Job[], elements: 0 }));
  for (const job of [...jobs].sort((a, b) => sizeOf(b) - sizeOf(a))) {
    const least = shares.reduce((a, b) => (b.elements < a.elements ? b : a));
    least.jobs.push(job);
    least.elements += sizeOf(job);
  }
  return shares.map((part) => part.jobs);
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
    /** @returns a function that waits for the jobs and puts their buffers back */
    send(jobs: readonly Job[]): () => void {
      if (ended) throw failed("has ended");
      const answers = Atomics.load(signal, 0);
      port1.postMessage(jobs, buffersOf(jobs));
      return () => {
        wait(answers);
        const answer = receiveMessageOnPort(port1)?.message as KernelAnswer | undefined;
        if (answer === undefined) throw failed("ended in the middle of its work");
        if ("error" in answer) throw failed(`failed (${answer.error})`);
        for (const [i, slab] of slabsOf(jobs).entries()) slab.buffer = answer.buffers[i] ?? slab.buffer;
      };
    },
    close: () => worker.terminate(),
  };
};

/**
 * A pool of `threads` threads. The calling one is one of them and works too; the others start with the first walk that is worth
 * sharing. They take buffers by transfer, so nothing is copied.
 *
 * @throws ZerothError when an expression of the program reads or writes a name that it cannot
 */
export const createKernelPool = (threads: number, program: Program, options: PoolOptions = {}): KernelPool => {
  const { worthSharing = 2 ** 17 } = options;
  const own = wasmWalker(program);
  let others: ReturnType<typeof startThread>[] | undefined;
  let broken: unknown;

  const walkShared = (jobs: readonly Job[]): void => {
    others ??= Array.from({ length: threads - 1 }, () => startThread(program, options));
    const [mine = [], ...theirs] = share(jobs, threads);
    const receive = others.map((thread, i) => thread.send(theirs[i] ?? []));
    for (const job of mine) own.walk(job);
    for (const take of receive) take();
  };
  return {
    walk(jobs) {
      if (broken !== undefined) throw broken;
      const elements = jobs.reduce((sum, job) => sum + sizeOf(job), 0);
      try {
        if (threads > 1 && jobs.length > 1 && elements >= worthSharing) walkShared(jobs);
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
