import { Worker } from "node:worker_threads";
import { ZerothError } from "../errors.js";
import { elementsOf } from "../model/weights.js";
import { workerUrl } from "../worker-url.js";
import type { Answer, Message } from "./engine-worker.js";
import type { Calls, EnginePlan, Held } from "./protocol.js";

/** The model, its runtime and its weights, in a thread of their own: the runtime blocks the thread that calls it. */
export interface Engine extends Omit<Calls, "load"> {
  close(): Promise<void>;
}

/** Memory that a request lends the engine. */
const handedOver = (argument: unknown): ArrayBuffer[] =>
  typeof argument === "object" && argument !== null && "into" in argument && argument.into instanceof ArrayBuffer
    ? [argument.into]
    : [];

/** What an engine is made of. */
export interface EngineParts {
  readonly plan: EnginePlan;
  /** Forward graphs over the same weights, by the name that runs give; each is made when it is first used. */
  readonly graphs: Readonly<Record<string, () => Uint8Array>>;
}

/**
 * Starts an engine.
 * @param make called while the engine's thread starts
 * @throws ZerothError when the model cannot be loaded
 */
export const startEngine = async (make: () => Promise<EngineParts>): Promise<Engine> => {
  const worker = new Worker(workerUrl("./engine-worker.js", import.meta.url), {
    // Little is made and dropped in there: a small nursery is memory saved.
    resourceLimits: { maxYoungGenerationSizeMb: 4 },
  });
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
      worker.postMessage({ id, call: name, argument } satisfies Message, handedOver(argument));
    });
  // The protocol's types are what both ends agree on; the wire itself is untyped.
  const typed =
    <K extends keyof Calls>(name: K) =>
    (...[argument]: Parameters<Calls[K]>) =>
      call(name, argument) as ReturnType<Calls[K]>;

  let graphs: EngineParts["graphs"];
  try {
    const parts = await make();
    graphs = parts.graphs;
    await call("open", parts.plan);
  } catch (error) {
    await worker.terminate();
    throw error;
  }
  const load = typed("load");
  const evaluate = typed("evaluate");
  const decode = typed("decode");
  const loaded = new Set<string>();
  const loadOnce = async (name: string): Promise<void> => {
    if (loaded.has(name)) return;
    const make = graphs[name];
    if (make === undefined) throw new Error(`no graph ${name}`);
    loaded.add(name);
    await load({ name, graph: make() });
  };
  return {
    missing: typed("missing"),
    prefetch: typed("prefetch"),
    async evaluate(request) {
      for (const { graph } of request.runs) await loadOnce(graph);
      return evaluate(request);
    },
    async decode(request) {
      await loadOnce(request.graph);
      return decode(request);
    },
    update: typed("update"),
    refresh: typed("refresh"),
    resume: typed("resume"),
    fold: typed("fold"),
    replay: typed("replay"),
    rewind: typed("rewind"),
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
const PIECE = 2 ** 14;

/**
 * The values of a tensor that an engine holds, a piece at a time. All pieces are in the same memory, which goes back and forth:
 * be done with one before asking for the next.
 */
export async function* valuesOf(engine: Engine, { name, shape }: Held): AsyncGenerator<Float32Array> {
  const size = elementsOf(shape);
  let into = new ArrayBuffer(4 * Math.min(PIECE, size));
  for (let start = 0; start < size; start += PIECE) {
    const piece = await engine.read({ name, start, count: PIECE, into });
    yield piece;
    if (piece.buffer instanceof ArrayBuffer) into = piece.buffer;
  }
}
