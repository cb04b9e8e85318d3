import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { resolveSettings } from "../../src/api/settings.js";
import { trainingOf } from "../../src/api/training.js";
import { layOut } from "../../src/engine/memory.js";
import type { Resident } from "../../src/engine/protocol.js";
import { floatsOf, type Slab } from "../../src/kernels/arena.js";
import { readSafetensorsHeader, writeSafetensors } from "../../src/model/safetensors.js";
import type { Trainable } from "../../src/peft/method.js";
import { tensorId, tensorKey } from "../../src/random/key.js";
import { uniformAt } from "../../src/random/noise.js";
import { temporaryFolder } from "../model/tiny.js";
import { methodOf } from "./trained.js";

const wave = (length: number) => Float32Array.from({ length }, (_, i) => Math.sin(i * i));
const tensors: readonly Trainable[] = [
  { name: "drawn", shape: [5, 9], initial: { kind: "uniform", bound: 0.25 }, layer: 0 },
  { name: "read", shape: [33, 3], initial: { kind: "weights" }, layer: 1 },
  { name: "zero", shape: [40], initial: { kind: "zeros" } },
];

const laidOut = async (
  given: Parameters<typeof resolveSettings>[0] = {},
  {
    copies = 0,
    threads = 1,
    masks,
  }: { copies?: number; threads?: number; masks?: ReadonlyMap<string, Uint32Array> } = {},
) => {
  const file = join(await temporaryFolder(), "model.safetensors");
  await writeSafetensors(file, [
    { name: "read", shape: [33, 3], dtype: "F32", bytes: () => new Uint8Array(wave(99).buffer) },
  ]);
  const [source] = readSafetensorsHeader(file);
  const method = methodOf("in-place", tensors);
  const settings = resolveSettings({ method: "full", optimizer: "mezo", ...given }, 1);
  const { plan, trained } = trainingOf(settings, method, 2, 10, masks);
  const from = {
    uniform: { kind: "uniform", bound: 0.25, seed: 9n },
    weights: { kind: "source", source: source! },
    zeros: { kind: "zeros" },
  } as const;
  const residents = tensors.map((tensor): Resident => {
    const { name, shape, initial } = tensor;
    return {
      name,
      shape,
      several: false,
      copied: false,
      from: from[initial.kind as keyof typeof from],
      trained: trained(tensor),
    };
  });
  // Beside them a frozen tensor, which nothing moves.
  const frozen: Resident = { name: "frozen", shape: [4], several: false, copied: false, from: from.zeros };
  return layOut({ residents: [...residents, frozen], training: plan, threads }, copies);
};
type Memory = Awaited<ReturnType<typeof laidOut>>;
const valuesOf = (memory: Memory) =>
  Object.fromEntries([...memory.weights].map(([name, slab]) => [name, floatsOf(slab).slice()]));
const slabsOf = ({ slots }: Memory): readonly (readonly Slab[])[] =>
  slots.map(({ copies, tensor: { weight, states, plane, total } }) =>
    [weight, copies, ...states, plane, total].flatMap((slab) => slab ?? []),
  );
const scribble = (memory: Memory) => {
  for (const slabs of slabsOf(memory)) for (const slab of slabs) floatsOf(slab).fill(7);
};

describe("an engine's memory", () => {
  it("starts from a file, from zeros, and from numbers drawn under a tensor's own name", async () => {
    const { drawn, read, zero, frozen } = valuesOf(await laidOut());
    expect(read).toEqual(wave(99));
    expect(zero).toEqual(new Float32Array(40));
    expect(frozen).toEqual(new Float32Array(4));
    const stream = tensorKey({ seed: 9n, stream: "init", step: 0, query: 0 }, tensorId("drawn"));
    expect(drawn).toEqual(Float32Array.from({ length: 45 }, (_, i) => (2 * uniformAt(stream, i) - 1) * 0.25));
  });

  it("goes back to its first bits, states included", async () => {
    const memory = await laidOut({ optimizer: "hizoo" }, { copies: 2 });
    const first = valuesOf(memory);
    expect(
      memory.slots.flatMap(({ tensor }) => tensor.states.map((slab) => floatsOf(slab).every((h) => h === 1))),
    ).toEqual([true, true, true]);
    scribble(memory);
    expect(valuesOf(memory)).not.toEqual(first);
    memory.rewind();
    expect(valuesOf(memory)).toEqual(first);
    for (const { tensor } of memory.slots)
      for (const slab of tensor.states) expect(new Set(floatsOf(slab))).toEqual(new Set([1]));
  });

  it.each([1, 2, 3])(
    "keeps what belongs to a tensor in one of %d arenas, and nothing on top of anything",
    async (threads) => {
      const masks = new Map(tensors.map(({ name }) => [name, new Uint32Array()]));
      const given = { optimizer: "zo-adam", perturbation: "sphere", subspace: "stored", mask: "m" };
      const memory = await laidOut(given, { copies: 3, threads, masks });
      const all = slabsOf(memory);
      for (const slabs of all) {
        // The weight, copies, two moments, a plane, a total.
        expect(slabs).toHaveLength(6);
        expect(new Set(slabs.map(({ arena }) => arena)).size).toBe(1);
      }
      const flat = [...all.flat(), memory.weights.get("frozen")!];
      for (const [i, slab] of flat.entries()) floatsOf(slab).fill(i + 1);
      for (const [i, slab] of flat.entries()) expect(floatsOf(slab).every((value) => value === i + 1)).toBe(true);
      expect(new Set(flat.map(({ arena }) => arena)).size).toBe(Math.min(threads, 4));
      expect(memory.slots.map(({ copies, tensor }) => copies.length / tensor.weight.length)).toEqual([3, 3, 3]);
    },
  );

  it("has planes, totals and thresholds only where they are asked for", async () => {
    const has = async (given: Parameters<typeof resolveSettings>[0]) => {
      const { tensor } = (await laidOut(given)).slots[1]!;
      return [tensor.plane?.length, tensor.total?.length, tensor.threshold !== undefined];
    };
    expect(await has({})).toEqual([undefined, undefined, false]);
    expect(await has({ perturbation: "sphere" })).toEqual([undefined, 4, false]);
    expect(await has({ subspace: "random" })).toEqual([undefined, undefined, false]);
    expect(await has({ optimizer: "sparse-mezo" })).toEqual([4, undefined, true]);
  });

  it("takes thresholds from the weights at the start, and again when it is told to", async () => {
    const memory = await laidOut({ optimizer: "sparse-mezo", hyperparameters: { sparsity: 0.75 } });
    const thresholds = () => memory.slots.map(({ tensor }) => tensor.threshold);
    const double = () => {
      for (const { tensor } of memory.slots) {
        const values = floatsOf(tensor.weight);
        values.set(values.map((value) => 2 * value));
      }
    };
    const quarter = (values: Float32Array) => values.map(Math.abs).sort()[Math.ceil(values.length / 4) - 1]!;
    const { drawn, read } = valuesOf(memory);
    // Zeros have no magnitudes to tell apart: all of them move.
    const first = [quarter(drawn!), quarter(read!), Infinity];
    expect(thresholds()).toEqual(first);
    double();
    memory.rewind();
    expect(thresholds()).toEqual(first);
    double();
    memory.mark();
    expect(thresholds()).toEqual(first.map((value) => 2 * value));
  });

  it("lets everything move, however large it grows, where nothing is to be at rest", async () => {
    const memory = await laidOut({ optimizer: "sparse-mezo", hyperparameters: { sparsity: 0 } });
    expect(memory.slots.map(({ tensor }) => tensor.threshold)).toEqual([Infinity, Infinity, Infinity]);
  });

  it("sets the bits that a stored mask lists", async () => {
    const masks = new Map([
      ["drawn", Uint32Array.of(0, 31, 32, 44)],
      ["read", Uint32Array.of(98)],
      ["zero", new Uint32Array()],
    ]);
    const memory = await laidOut({ subspace: "stored", mask: "m" }, { masks });
    const words = () =>
      memory.slots.map(({ tensor: { plane } }) => [
        ...new Uint32Array(plane!.arena.buffer, plane!.offset, plane!.length),
      ]);
    const expected = [
      [0x8000_0001, 1 | (1 << 12)],
      [0, 0, 0, 4],
      [0, 0],
    ];
    expect(words()).toEqual(expected);
    memory.rewind();
    expect(words()).toEqual(expected);
  });
});
