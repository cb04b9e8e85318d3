import { allocate, floatsOf, type Slab } from "../kernels/arena.js";
import { readTensorSync } from "../model/weights.js";
import { tensorId, tensorKey } from "../random/key.js";
import { fillUniform } from "../random/noise.js";
import type { EnginePlan, Resident } from "./protocol.js";
import type { Slot } from "./trainables.js";

const sizeOf = (shape: readonly number[]): number => shape.reduce((size, dim) => size * dim, 1);

/** Puts a resident tensor's first values into its slab. */
const fill = ({ name, from }: Resident, slab: Slab): void => {
  const values = floatsOf(slab);
  if (from.kind === "source") readTensorSync(from.source, values);
  if (from.kind === "zeros") values.fill(0);
  if (from.kind === "uniform") {
    const key = tensorKey({ seed: from.seed, stream: "init", step: 0, query: 0 }, tensorId(name));
    fillUniform(key, values, (value) => (2 * value - 1) * from.bound);
  }
};

/** The tensors that an engine holds. */
export interface Memory {
  /** Every one, by name, as it is fed where nothing is perturbed. */
  readonly weights: ReadonlyMap<string, Slab>;
  readonly slots: readonly Slot[];
  /** Puts the first values, of weights and of states, where they were at the start. */
  rewind(): void;
}

/**
 * Lays the resident tensors out: what is trained with its optimizer states and room for perturbed copies.
 *
 * @param copies perturbed copies at a time
 */
export const layOut = ({ residents, program, threads }: EnginePlan, copies: number): Memory => {
  const initial = Object.values(program?.states ?? {});
  const slabs = allocate(
    residents.map(({ shape, trainable }) => {
      const size = sizeOf(shape);
      return trainable ? [size, copies * size, ...initial.map(() => size)] : [size];
    }),
    threads,
  );
  const weights = new Map<string, Slab>();
  const slots: Slot[] = [];
  for (const [i, resident] of residents.entries()) {
    const [weight, room, ...states] = slabs[i] ?? [];
    if (weight === undefined) continue;
    const { name, shape } = resident;
    fill(resident, weight);
    weights.set(name, weight);
    if (room !== undefined) slots.push({ name, id: tensorId(name), shape, weight, states, copies: room });
  }
  const start = () => {
    for (const { states } of slots) for (const [s, slab] of states.entries()) floatsOf(slab).fill(initial[s] ?? 0);
  };
  start();
  return {
    weights,
    slots,
    rewind() {
      const trained = new Map(residents.map((resident) => [resident.name, resident]));
      for (const { name, weight } of slots) {
        const resident = trained.get(name);
        if (resident !== undefined) fill(resident, weight);
      }
      start();
    },
  };
};
