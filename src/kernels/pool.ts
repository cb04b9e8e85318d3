import { MessageChannel, receiveMessageOnPort, Worker } from "node:worker_threads";
import { ZerothError } from "../errors.js";
import { workerUrl } from "../worker-url.js";
import type { KernelAnswer, KernelThread } from "./kernel-worker.js";
import { type Job, type Program, wasmWalker } from "./walk.js";

/** Walks over many tensors, divided between threads. Bits do not depend on their number: a tensor is one thread's work. */
export interface KernelPool {
  /**
   * Applies every job, in place, and returns when all are done. Jobs' buffers may be other objects afterwards (same memory, sent
   * there and back).
   * @throws ZerothError when a kernel thread fails; the weights are then lost and the run must be resumed
   */
  walk(jobs: readonly Job[]): void;
  close(): Promise<void>;
}

/** Fewer elements than this are walked at once on the calling thread. */
const WORTH_SHARING = 2 ** 17;
/** A thread that finishes no tensor for this long is taken for dead (the largest tensors take seconds). */
const PATIENCE_MILLISECONDS = 120_000;

const sizeOf = ({ weight }: Job): number => weight.buffer.byteLength;

/** Longest first, each to the thread with the least to do so far. */
const share = (jobs: readonly Job[], threads: number): readonly Job[][] => {
  const shares = Array.from({ length: threads }, (): { jobs: Job[]; bytes: number } => ({ jobs: [], bytes: 0 }));
  for (const job of [...jobs].sort((a, b) => sizeOf(b) - sizeOf(a))) {
    const least = shares.reduce((a, b) => (b.bytes < a.bytes ? b : a));
    least.jobs.push(job);
    least.bytes += sizeOf(job);
  }
  return shares.map((part) => part.jobs);
};

const startThread = (program: Program) => {
  const { port1, port2 } = new MessageChannel();
  const signal = new Int32Array(new SharedArrayBuffer(8));
  const data: KernelThread = { port: port2, signal, program };
  const worker = new Worker(workerUrl("./kernel-worker.js", import.meta.url), { workerData: data, transferList: [port2] });
  worker.unref();
  port1.unref();
  // An exit cannot be seen while the calling thread waits, so the waiting is bounded too.
  let ended = false;
  worker.on("exit", () => {
    ended = true;
  });
  worker.on("error", () => {
    ended = true;
  });
  return {
    send(jobs: readonly Job[]): number {
      if (ended) throw new ZerothError("A kernel thread has ended. Nothing is lost: go on with --resume.");
      const finished = Atomics.load(signal, 0);
      port1.postMessage(jobs, jobs.flatMap(({ weight, states }) => [weight.buffer, ...states.map(({ buffer }) => buffer)]));
      return finished;
    },
    receive(jobs: readonly Job[], finished: number): void {
      let seen = Atomics.load(signal, 1);
      while (Atomics.wait(signal, 0, finished, PATIENCE_MILLISECONDS) === "timed-out") {
        const now = Atomics.load(signal, 1);
        if (now === seen) throw new ZerothError("A kernel thread does not answer. Nothing is lost: go on with --resume.");
        seen = now;
      }
      const answer = receiveMessageOnPort(port1)?.message as KernelAnswer | undefined;
      if (answer === undefined || "error" in answer) {
        throw new ZerothError(`A kernel thread failed: ${answer?.error ?? "no answer"}. Nothing is lost: go on with --resume.`);
      }
      const buffers = answer.buffers.values();
      for (const { weight, states } of jobs) {
        for (const slab of [weight, ...states]) slab.buffer = buffers.next().value ?? slab.buffer;
      }
    },
    close: () => worker.terminate(),
  };
};

/** A pool of `threads` threads, the calling one included; the others take buffers by transfer and give them back. */
export const createKernelPool = (threads: number, program: Program): KernelPool => {
  const own = wasmWalker(program);
  let helpers: ReturnType<typeof startThread>[] | undefined;
  return {
    walk(jobs) {
      const elements = jobs.reduce((sum, job) => sum + sizeOf(job) / 4, 0);
      if (threads === 1 || jobs.length === 1 || elements < WORTH_SHARING) {
        for (const job of jobs) own.walk(job);
        return;
      }
      helpers ??= Array.from({ length: threads - 1 }, () => startThread(program));
      const [mine = [], ...others] = share(jobs, threads);
      const sent = helpers.map((helper, i) => ({ helper, part: others[i] ?? [], finished: helper.send(others[i] ?? []) }));
      for (const job of mine) own.walk(job);
      for (const { helper, part, finished } of sent) helper.receive(part, finished);
    },
    async close() {
      await Promise.all((helpers ?? []).map((helper) => helper.close()));
    },
  };
};
