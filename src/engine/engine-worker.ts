import { parentPort } from "node:worker_threads";
import { messageOf, ZerothError } from "../errors.js";
import { openHost } from "./host.js";
import type { Calls, EnginePlan } from "./protocol.js";

/** One request on the wire. */
export interface Message {
  readonly id: number;
  readonly call: keyof Calls | "open" | "close";
  readonly argument: unknown;
}

export type Answer =
  | { readonly id: number; readonly value: unknown }
  | {
      readonly id: number;
      readonly error: { readonly message: string; readonly stack: string | undefined; readonly ours: boolean };
    };

const port = parentPort;
if (port === null) throw new Error("engine-worker runs as a worker thread only");

let host: Awaited<ReturnType<typeof openHost>> | undefined;

const answer = async ({ call, argument }: Message): Promise<unknown> => {
  if (call === "open") {
    host = await openHost(argument as EnginePlan);
    return undefined;
  }
  if (host === undefined) throw new Error("the engine is not open");
  if (call === "close") return host.close();
  return (host.calls[call] as (argument: unknown) => Promise<unknown>)(argument);
};

/** Values read out of the engine are handed over, not copied. */
const handedOver = (value: unknown): ArrayBuffer[] =>
  value instanceof Float32Array && value.buffer instanceof ArrayBuffer ? [value.buffer] : [];

// One request at a time, in order: the runtime and the kernels share the weights.
let last: Promise<void> = Promise.resolve();
port.on("message", (message: Message) => {
  last = last.then(async () => {
    let reply: Answer;
    try {
      reply = { id: message.id, value: await answer(message) };
    } catch (error) {
      const stack = error instanceof Error ? error.stack : undefined;
      reply = { id: message.id, error: { message: messageOf(error), stack, ours: error instanceof ZerothError } };
    }
    port.postMessage(reply, "value" in reply ? handedOver(reply.value) : []);
    if (message.call === "close") port.close();
  });
});
