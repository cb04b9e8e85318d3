import { parentPort, workerData } from "node:worker_threads";
import type { MessagePort } from "node:worker_threads";
import { messageOf } from "../errors.js";
import { type Job, type Program, type Walker, wasmWalker } from "./walk.js";

/** What a kernel thread is started with. */
export interface KernelThread {
  readonly port: MessagePort;
  /** [0]: walks finished, which the waiting thread watches; [1]: tensors finished, which shows that it lives. */
  readonly signal: Int32Array;
  readonly program: Program;
}

/** The buffers that it was given, back in the same order, or what went wrong. */
export type KernelAnswer = { readonly buffers: readonly ArrayBuffer[] } | { readonly error: string };

if (parentPort === null) throw new Error("kernel-worker runs as a worker thread only");
const { port, signal, program } = workerData as KernelThread;
let walker: Walker | undefined;

const buffersOf = (jobs: readonly Job[]): ArrayBuffer[] => jobs.flatMap(({ weight, states }) => [weight.buffer, ...states.map(({ buffer }) => buffer)]);

port.on("message", (jobs: readonly Job[]) => {
  let answer: KernelAnswer;
  try {
    walker ??= wasmWalker(program);
    for (const job of jobs) {
      walker.walk(job);
      Atomics.add(signal, 1, 1);
    }
    answer = { buffers: buffersOf(jobs) };
  } catch (error) {
    answer = { error: messageOf(error) };
  }
  port.postMessage(answer, "buffers" in answer ? [...answer.buffers] : []);
  Atomics.add(signal, 0, 1);
  Atomics.notify(signal, 0);
});
