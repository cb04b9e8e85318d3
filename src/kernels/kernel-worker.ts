import { type MessagePort, workerData } from "node:worker_threads";
import { messageOf } from "../errors.js";
import type { Job, Program, Walker } from "./program.js";
import { wasmWalker } from "./walk.js";

/** What a kernel thread is started with. */
export interface KernelThread {
  readonly port: MessagePort;
  /** [0]: answers given, which the caller waits on; [1]: tiles done, which shows that the thread lives. */
  readonly signal: Int32Array;
  readonly program: Program;
}

/** The buffers of the arenas of the jobs it was given, in the order of first use, or what went wrong. */
export type KernelAnswer = { readonly buffers: readonly ArrayBuffer[] } | { readonly error: string };

const { port, signal, program } = workerData as KernelThread;

const wakeCaller = (): void => {
  Atomics.add(signal, 0, 1);
  Atomics.notify(signal, 0);
};
// A thread that ends in the middle of its work answers nothing.
process.once("exit", wakeCaller);

let walker: Walker | undefined;
const done = (jobs: readonly Job[]): KernelAnswer => {
  try {
    walker ??= wasmWalker(program, () => Atomics.add(signal, 1, 1));
    for (const job of jobs) walker.walk(job);
    return { buffers: [...new Set(jobs.map(({ tensor }) => tensor.weight.arena))].map(({ buffer }) => buffer) };
  } catch (error) {
    return { error: messageOf(error) };
  }
};

port.on("message", (jobs: readonly Job[]) => {
  const answer = done(jobs);
  port.postMessage(answer, "buffers" in answer ? [...answer.buffers] : []);
  wakeCaller();
});
