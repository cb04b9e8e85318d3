import { InferenceSession, Tensor } from "onnxruntime-node";
import { messageOf, ZerothError } from "../errors.js";
import { floatsOf, type Slab } from "../kernels/arena.js";
import { elementsOf } from "../model/weights.js";
import { type Caches, cachesAfter, noCaches } from "./decoding.js";
import { OUTPUT } from "./plan.js";
import type { EnginePlan, Feed } from "./protocol.js";

const open = (graph: Uint8Array, { folder, threads, device }: EnginePlan): Promise<InferenceSession> =>
  InferenceSession.create(graph, {
    executionProviders: [device],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: "all",
    // Row counts vary from run to run, which the memory pattern planner would chase.
    enableMemPattern: false,
    extra: {
      session: {
        model_external_initializers_file_folder_path: folder,
        // What the runtime fuses of DequantizeLinear and MatMul would else round activations to 8 bits.
        qdq_matmulnbits_accuracy_level: "1",
        // Its threads would else wait busily for tens of milliseconds after a run, on the cores that the kernels and other sessions need then.
        force_spinning_stop: "1",
      },
    },
  }).catch((error: unknown) => {
    throw new ZerothError(`The runtime refused the model's graph: ${messageOf(error)}`, { cause: error });
  });

/** The runtime's sessions: graphs over the same weights. */
export interface Sessions {
  load(name: string, graph: Uint8Array): Promise<void>;
  /** @param weights tensors in memory, by the name of their input; several copies of one lie end to end */
  run(graph: string, weights: ReadonlyMap<string, Slab>, feeds: Readonly<Record<string, Feed>>): Promise<Float32Array>;
  /** Runs a decoding graph after the `past` tokens that it has run before, or on a new row. */
  decode(
    graph: string,
    weights: ReadonlyMap<string, Slab>,
    feeds: Readonly<Record<string, Feed>>,
    past: number,
  ): Promise<Float32Array>;
  close(): Promise<void>;
}

export const openSessions = (plan: EnginePlan): Sessions => {
  const shapes = new Map(plan.residents.map(({ name, shape }) => [name, shape]));
  const many = new Set(plan.residents.filter(({ several }) => several).map(({ name }) => name));
  const sessions = new Map<string, InferenceSession>();

  const tensors = new Map<string, Tensor>();
  const tensorOf = (name: string, slab: Slab): Tensor => {
    const known = tensors.get(name);
    const values = floatsOf(slab);
    // A walk may have put the arena into another buffer.
    const { buffer, byteOffset, length } = (known?.data as Float32Array | undefined) ?? new Float32Array();
    if (known !== undefined && buffer === values.buffer && byteOffset === slab.offset && length === slab.length)
      return known;
    const shape = shapes.get(name) ?? [];
    const tensor = new Tensor("float32", values, many.has(name) ? [slab.length / elementsOf(shape), ...shape] : shape);
    tensors.set(name, tensor);
    return tensor;
  };
  const sessionOf = (graph: string): InferenceSession => {
    const session = sessions.get(graph);
    if (session === undefined) throw new Error(`no graph ${graph}`);
    return session;
  };
  /** Graphs over the same weights read different ones of them, and of the feeds. */
  const inputsOf = (
    { inputNames }: InferenceSession,
    weights: ReadonlyMap<string, Slab>,
    feeds: Readonly<Record<string, Feed>>,
  ): Record<string, Tensor> =>
    Object.fromEntries(
      inputNames.flatMap((name): [string, Tensor][] => {
        const slab = weights.get(name);
        const feed = feeds[name];
        if (slab !== undefined) return [[name, tensorOf(name, slab)]];
        return feed === undefined ? [] : [[name, new Tensor(feed.data, feed.dims)]];
      }),
    );
  const outputOf = (graph: string, outputs: InferenceSession.ReturnType): Float32Array => {
    const data = outputs[OUTPUT]?.data;
    if (!(data instanceof Float32Array)) throw new Error(`the output of the graph ${graph} is not float32`);
    return data;
  };
  let caches: Caches = { tokens: 0, inputs: {} };
  return {
    async load(name, graph) {
      sessions.set(name, await open(graph, plan));
    },
    async run(graph, weights, feeds) {
      const session = sessionOf(graph);
      return outputOf(graph, await session.run(inputsOf(session, weights, feeds), [OUTPUT]));
    },
    async decode(graph, weights, feeds, past) {
      const session = sessionOf(graph);
      if (past === 0) caches = noCaches(session);
      if (past !== caches.tokens) throw new Error(`after ${past} tokens, but ${caches.tokens} are remembered`);
      const outputs = await session.run({ ...inputsOf(session, weights, feeds), ...caches.inputs });
      caches = cachesAfter(outputs, past + (feeds.ids?.data.length ?? 0));
      return outputOf(graph, outputs);
    },
    async close() {
      for (const session of sessions.values()) await session.release().catch(() => undefined);
    },
  };
};
