import { Worker } from "node:worker_threads";
import { ZerothError } from "../errors.js";
import { workerUrl } from "../worker-url.js";
import type { Answer, Message } from "./engine-worker.js";
import type { Calls, EnginePlan, Held } from "./protocol.js";

/** The model, its runtime and its weights, in a thread of their own: the runtime blocks the thread that calls it. */
export interface Engine extends Calls {
  close(): Promise<void>;
}

/**
 * Starts an engine.
 * @throws ZerothError when the model cannot be loaded
 */
export const startEngine = async (plan: EnginePlan): Promise<Engine> => {
  const worker = new Worker(workerUrl("./engine-worker.js", import.meta.url));
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  let next = 0;
  let dead: Error | undefined;
  const die = (error: Error) => {
    dead ??= error;
    for (const { reject } of waiting.values()) reject(dead);
    waiting.clear();
  };
  worker.on("message", (answer: Answer) => {
    const caller = waiting.get(answer.id);
    waiting.delete(answer.id);
    if ("error" in answer) {
      const error = answer.error.ours ? new ZerothError(answer.error.message) : new Error(answer.error.message);
      if (answer.error.stack !== undefined && !answer.error.ours) error.stack = answer.error.stack;
      caller?.reject(error);
    } else caller?.resolve(answer.value);
  });
  worker.on("error", (error) => die(new ZerothError(`The engine's thread failed: ${error.message}`, { cause: error })));
  worker.on("exit", () => die(new ZerothError("The engine's thread has ended.")));

  const call = (name: Message["call"], argument?: unknown): Promise<unknown> =>
    new Promise((resolve, reject) => {
      if (dead !== undefined) return reject(dead);
      const id = next++;
      waiting.set(id, { resolve, reject });
      worker.postMessage({ id, call: name, argument } satisfies Message);
    });
  // The protocol's types are what both ends agree on; the wire itself is untyped.
  const typed =
    <K extends keyof Calls>(name: K) =>
    (...[argument]: Parameters<Calls[K]>) =>
      call(name, argument) as ReturnType<Calls[K]>;

  try {
    await call("open", plan);
  } catch (error) {
    await worker.terminate();
    throw error;
  }
  return {
    missing: typed("missing"),
    prefetch: typed("prefetch"),
    evaluate: typed("evaluate"),
    update: typed("update"),
    replay: typed("replay"),
    held: typed("held"),
    read: typed("read"),
    write: typed("write"),
    walkSeconds: typed("walkSeconds"),
    async close() {
      if (dead === undefined) await call("close").catch(() => undefined);
      await worker.terminate();
    },
  };
};

/** Elements that leave an engine at a time: no tensor is held twice. */
const PIECE = 2 ** 20;

/** The values of a tensor that an engine holds, a piece at a time. */
export async function* valuesOf(engine: Engine, { name, shape }: Held): AsyncGenerator<Float32Array> {
  const size = shape.reduce((product, dim) => product * dim, 1);
  for (let start = 0; start < size; start += PIECE) yield engine.read({ name, start, count: PIECE });
}
