import { performance } from "node:perf_hooks";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { messageOf, ZerothError } from "../errors.js";
import type { Point } from "../estimator/estimator.js";
import { createKernelPool } from "../kernels/pool.js";
import type { Slab } from "../kernels/walk.js";
import { readTensorSync } from "../model/weights.js";
import { tensorId, tensorKey } from "../random/key.js";
import { uniformAt } from "../random/noise.js";
import { HIDDEN, OUTPUT } from "./plan.js";
import { createPrefixCache } from "./prefix-cache.js";
import type { Calls, EnginePlan, Feed, Resident, Run } from "./protocol.js";
import { inCopies, inPlace, type Slot } from "./trainables.js";

const sizeOf = (shape: readonly number[]): number => shape.reduce((size, dim) => size * dim, 1);

/** A resident tensor's first values. */
const initial = ({ name, shape, from }: Resident): ArrayBuffer => {
  if (from.kind === "source") return readTensorSync(from.source).buffer;
  const values = new Float32Array(sizeOf(shape));
  if (from.kind === "uniform") {
    const key = tensorKey({ seed: from.seed, stream: "init", step: 0, query: 0 }, tensorId(name));
    for (let i = 0; i < values.length; i++) values[i] = (2 * uniformAt(key, i) - 1) * from.bound;
  }
  return values.buffer;
};

const filled = (length: number, value: number): Slab => ({ buffer: new Float32Array(length).fill(value).buffer });

/** The graph of what comes before the first block that is trained. */
const PREFIX = "prefix";

/**
 * The engine's inside: the ONNX Runtime sessions, the resident weights and the kernels. Runs in the engine's own thread,
 * since `session.run` blocks the thread for its whole length.
 */
export const openHost = async (plan: EnginePlan): Promise<{ calls: Calls; close: () => Promise<void> }> => {
  const shapes = new Map(plan.residents.map(({ name, shape }) => [name, shape]));
  const resident = new Map<string, Slab>(plan.residents.map((tensor) => [tensor.name, { buffer: initial(tensor) }]));

  const open = (graph: Uint8Array): Promise<InferenceSession> =>
    InferenceSession.create(graph, {
      executionProviders: [plan.device],
      intraOpNumThreads: plan.threads,
      interOpNumThreads: 1,
      graphOptimizationLevel: "all",
      // Row counts vary from run to run, which the memory pattern planner would chase.
      enableMemPattern: false,
      extra: {
        session: {
          model_external_initializers_file_folder_path: plan.folder,
          // Threads that spin between runs would take the cores that the kernels need.
          "intra_op.allow_spinning": "0",
        },
      },
    }).catch((error: unknown) => {
      throw new ZerothError(`The runtime refused the model's graph: ${messageOf(error)}`, { cause: error });
    });
  const sessions = new Map<string, Promise<InferenceSession>>();
  const sessionOf = (name: string): Promise<InferenceSession> => {
    const session = sessions.get(name);
    if (session === undefined) throw new Error(`no graph ${name}`);
    return session;
  };
  if (plan.prefix !== undefined) sessions.set(PREFIX, open(plan.prefix.graph));

  const { program } = plan;
  const stateNames = Object.keys(program?.states ?? {});
  const pool =
    program === undefined
      ? undefined
      : createKernelPool(plan.threads, {
          distribution: program.distribution,
          direction: program.direction,
          apply: program.rule,
          states: stateNames,
        });
  const slots = plan.residents
    .filter(({ trainable }) => trainable)
    .map(({ name, shape }): Slot => {
      const weight = resident.get(name) ?? { buffer: new ArrayBuffer(0) };
      const states = Object.values(program?.states ?? {}).map((value) => filled(sizeOf(shape), value));
      return { name, shape, id: tensorId(name), weight, states };
    });
  const place = plan.placement === "copies" ? inCopies : inPlace;
  const trainables = pool === undefined ? undefined : place(slots, pool, program?.exempt ?? {});

  let walkSeconds = 0;
  const timed = <T>(work: () => T): T => {
    const start = performance.now();
    const value = work();
    walkSeconds += (performance.now() - start) / 1000;
    return value;
  };
  const weightsAt = (point: Point): ReadonlyMap<string, Slab> => {
    if (trainables !== undefined) return timed(() => trainables.at(point));
    if (point.length > 0)
      throw new Error("nothing is trainable, so there is no other point than the model's own weights");
    return new Map();
  };

  const tensors = new Map<string, { buffer: ArrayBuffer; tensor: Tensor }>();
  const tensorOf = (name: string, { buffer }: Slab): Tensor => {
    const cached = tensors.get(name);
    if (cached !== undefined && cached.buffer === buffer) return cached.tensor;
    const tensor = new Tensor("float32", new Float32Array(buffer), shapes.get(name) ?? []);
    tensors.set(name, { buffer, tensor });
    return tensor;
  };
  const runGraph = async (
    graph: string,
    weights: ReadonlyMap<string, Slab>,
    feeds: Readonly<Record<string, Feed>>,
  ): Promise<Float32Array> => {
    const session = await sessionOf(graph);
    const inputs: Record<string, Tensor> = {};
    // Graphs over the same weights read different ones of them, and of the feeds.
    for (const name of session.inputNames) {
      const slab = weights.get(name) ?? resident.get(name);
      const feed = feeds[name];
      if (slab !== undefined) inputs[name] = tensorOf(name, slab);
      else if (feed !== undefined) inputs[name] = new Tensor(feed.data, feed.dims);
    }
    const outputs = await session.run(inputs, [OUTPUT]);
    const data = outputs[OUTPUT]?.data;
    if (!(data instanceof Float32Array)) throw new Error(`the output of the graph ${graph} is not float32`);
    return data;
  };

  const { prefix } = plan;
  const cache = createPrefixCache(prefix?.budget ?? 0);
  /** A run's feeds with the hidden states that its graph starts from. */
  const started = async ({ feeds, rows }: Run): Promise<Run["feeds"]> => {
    if (prefix === undefined) return feeds;
    const data =
      rows === undefined ? await runGraph(PREFIX, new Map(), feeds) : cache.gather(rows.map(({ row }) => row));
    return { ...feeds, [HIDDEN]: { data, dims: [data.length / prefix.width, prefix.width] } };
  };

  const stored = new Map<string, { shape: readonly number[]; slab: Slab }>(
    slots.flatMap((slot) => [
      [slot.name, { shape: slot.shape, slab: slot.weight }] as const,
      ...slot.states.map((slab, i) => [`${slot.name}#${stateNames[i]}`, { shape: slot.shape, slab }] as const),
    ]),
  );
  const find = (name: string) => {
    const found = stored.get(name);
    if (found === undefined) throw new Error(`no trainable tensor ${name}`);
    return found;
  };

  const calls: Calls = {
    async load({ name, graph }) {
      const session = open(graph);
      sessions.set(name, session);
      await session;
    },
    async missing(rows) {
      return rows.filter((row) => !cache.has(row));
    },
    async prefetch(runs) {
      for (const { feeds, rows = [] } of runs) {
        const states = await runGraph(PREFIX, new Map(), feeds);
        let at = 0;
        for (const { row, tokens } of rows) {
          const end = at + tokens * (prefix?.width ?? 0);
          cache.put(row, states.subarray(at, end));
          at = end;
        }
      }
    },
    async evaluate({ points, runs }) {
      // What comes before the first block that is trained is the same at every point.
      const feeds: Run["feeds"][] = [];
      for (const run of runs) feeds.push(await started(run));
      const outputs: Float32Array[][] = [];
      for (const point of points) {
        const weights = weightsAt(point);
        const row: Float32Array[] = [];
        for (const [i, { graph }] of runs.entries()) row.push(await runGraph(graph, weights, feeds[i] ?? {}));
        outputs.push(row);
      }
      return outputs;
    },
    async update({ update, scalars }) {
      timed(() => trainables?.update(update, scalars));
    },
    async replay(moves) {
      timed(() => {
        for (const move of moves) {
          if ("visit" in move) for (const point of move.visit) trainables?.visit(point);
          else trainables?.update(move.update, move.scalars);
        }
        trainables?.settle();
      });
    },
    held: async () => [...stored].map(([name, { shape }]) => ({ name, shape })),
    async read({ name, start, count, into }) {
      timed(() => trainables?.settle());
      const values = new Float32Array(find(name).slab.buffer).subarray(start, start + count);
      if (into === undefined || into.byteLength < values.byteLength) return values.slice();
      const out = new Float32Array(into, 0, values.length);
      out.set(values);
      return out;
    },
    async write({ name, start, data }) {
      timed(() => trainables?.settle());
      new Float32Array(find(name).slab.buffer).set(data, start);
    },
    walkSeconds: async () => walkSeconds,
  };
  return {
    calls,
    async close() {
      for (const session of sessions.values()) await session.then((loaded) => loaded.release()).catch(() => undefined);
      await pool?.close();
      cache.close();
    },
  };
};
