import { performance } from "node:perf_hooks";
import type { Point } from "../estimator/estimator.js";
import { floatsOf, type Slab } from "../kernels/arena.js";
import { repeated, tokensOf } from "./feeds.js";
import { HIDDEN } from "./plan.js";
import { createPrefixCache } from "./prefix-cache.js";
import type { Calls, EnginePlan, Run } from "./protocol.js";
import { openSessions } from "./sessions.js";
import { openVariables } from "./variables.js";

/** The graph of what comes before the first block that is trained. */
const PREFIX = "prefix";
/** Items in order, `size` at a time. */
const groupsOf = <T>(items: readonly T[], size: number): readonly (readonly T[])[] =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));

/**
 * The engine's inside: the ONNX Runtime sessions, the resident weights and the kernels. Runs in the engine's own thread,
 * since the runtime blocks the thread for the whole length of a run.
 */
export const openHost = async (plan: EnginePlan): Promise<{ calls: Calls; close: () => Promise<void> }> => {
  const { training, prefix } = plan;
  const variables = openVariables(plan);
  const { memory, trainables, cored } = variables;
  const { weights, slots } = memory;
  const states = training?.program.states ?? [];
  const sessions = openSessions(plan);
  if (prefix !== undefined) await sessions.load(PREFIX, prefix.graph);

  let walkSeconds = 0;
  const timed = <T>(work: () => T): T => {
    const start = performance.now();
    const value = work();
    walkSeconds += (performance.now() - start) / 1000;
    return value;
  };
  /** Every tensor in memory, what is trained at some points. */
  const weightsAt = (points: readonly Point[]): ReadonlyMap<string, Slab> => {
    if (trainables !== undefined) return new Map([...weights, ...timed(() => trainables.at(points))]);
    if (points.some((point) => point.length > 0))
      throw new Error("nothing is trainable, so there is no other point than the model's own weights");
    return weights;
  };

  const cache = createPrefixCache(prefix?.budget ?? 0);
  /** A run's feeds with the hidden states that its graph starts from. */
  const started = async ({ feeds, rows }: Run): Promise<Run["feeds"]> => {
    if (prefix === undefined) return feeds;
    const data =
      rows === undefined ? await sessions.run(PREFIX, weights, feeds) : cache.gather(rows.map(({ row }) => row));
    return { ...feeds, [HIDDEN]: { data, dims: [data.length / prefix.width, prefix.width] } };
  };

  /** What a run changes: weights, states, and what a core was folded into. */
  const stored = new Map<string, { shape: readonly number[]; slab: Slab }>(
    slots.flatMap(({ name, shape, tensor }) => [
      [name, { shape, slab: tensor.weight }] as const,
      ...tensor.states.map((slab, i) => {
        const isElements = tensor.layouts[i]?.kind === "element";
        return [`${name}#${states[i]}`, { shape: isElements ? shape : [slab.length], slab }] as const;
      }),
    ]),
  );
  for (const { base, rows, columns } of plan.cored?.matrices ?? []) {
    const slab = weights.get(base);
    if (slab !== undefined) stored.set(base, { shape: [rows, columns], slab });
  }
  const find = (name: string): Slab => {
    const found = stored.get(name)?.slab ?? weights.get(name);
    if (found === undefined) throw new Error(`no tensor ${name} in the engine`);
    return found;
  };

  const calls: Calls = {
    load: ({ name, graph }) => sessions.load(name, graph),
    async missing(rows) {
      return rows.filter((row) => !cache.has(row));
    },
    async prefetch(runs) {
      for (const { feeds, rows = [] } of runs) {
        const states = await sessions.run(PREFIX, weights, feeds);
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
      // As many points at a time as fill a run, whatever the pack: a function of the batch alone.
      const longest = Math.max(1, ...feeds.map(tokensOf));
      const together = Math.max(1, Math.min(trainables?.most ?? 1, Math.floor(plan.runTokens / longest)));
      const outputs: Float32Array[][] = [];
      for (const group of groupsOf(points, together)) {
        const at = weightsAt(group);
        const rows = group.map((): Float32Array[] => []);
        for (const [i, { graph }] of runs.entries()) {
          const output = await sessions.run(graph, at, repeated(feeds[i] ?? {}, group.length));
          const size = output.length / group.length;
          for (const [p, row] of rows.entries()) row.push(output.slice(p * size, (p + 1) * size));
        }
        outputs.push(...rows);
      }
      return outputs;
    },
    async decode({ point, graph, feeds, past }) {
      const logits = await sessions.decode(graph, weightsAt([point]), feeds, past);
      return logits.slice();
    },
    async update(call) {
      timed(() => trainables?.update(call));
    },
    async replay(moves) {
      timed(() => variables.replay(moves));
    },
    async refresh(step) {
      timed(() => cored?.refresh(step));
    },
    async resume(step) {
      cored?.resume(step);
    },
    async fold() {
      timed(() => cored?.fold());
    },
    async rewind() {
      variables.rewind();
    },
    held: async () => [...stored].map(([name, { shape }]) => ({ name, shape })),
    async read({ name, start, count, into }) {
      timed(() => trainables?.settle());
      const values = floatsOf(find(name)).subarray(start, start + count);
      if (into === undefined || into.byteLength < values.byteLength) return values.slice();
      const out = new Float32Array(into, 0, values.length);
      out.set(values);
      return out;
    },
    async write({ name, start, data }) {
      timed(() => trainables?.settle());
      floatsOf(find(name)).set(data, start);
    },
    walkSeconds: async () => walkSeconds,
  };
  return {
    calls,
    async close() {
      await sessions.close();
      await variables.pool?.close();
      cache.close();
    },
  };
};
