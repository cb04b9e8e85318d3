import { allocate, floatsOf, type Slab } from "../kernels/arena.js";
import { lengthOf, type Tensor } from "../kernels/program.js";
import { elementsOf, readRowsSync, readTensorSync } from "../model/weights.js";
import { tensorId, tensorKey } from "../random/key.js";
import { fillNoise, fillUniform } from "../random/noise.js";
import type { EnginePlan, Resident, Trained } from "./protocol.js";
import { magnitudeBelow } from "./quantile.js";

/** A trainable tensor where it lives. */
export interface Slot extends Pick<Trained, "scalars" | "layer" | "block"> {
  readonly name: string;
  readonly shape: readonly number[];
  readonly tensor: Tensor;
  /** Room for perturbed copies, as many as points are visited at a time; none where weights are perturbed in place. */
  readonly copies: Slab;
}

/** Puts a resident tensor's first values into its slab. */
const fill = ({ name, from }: Resident, slab: Slab): void => {
  const values = floatsOf(slab);
  if (from.kind === "source") readTensorSync(from.source, values);
  if (from.kind === "zeros") values.fill(0);
  if (from.kind === "rows") readRowsSync(from.source, from.rows, values, from.scale);
  if (from.kind === "uniform" || from.kind === "normal") {
    const key = tensorKey({ seed: from.seed, stream: "init", step: 0, query: 0 }, tensorId(name));
    if (from.kind === "uniform") fillUniform(key, values, (value) => (2 * value - 1) * from.bound);
    else {
      fillNoise("gaussian", key, 0, values);
      for (let i = 0; i < values.length; i++) values[i] = from.deviation * (values[i] ?? 0);
    }
  }
};

/** Sets the bits of the elements that are listed. */
const setBits = ({ arena, offset, length }: Slab, elements: Uint32Array): void => {
  const words = new Uint32Array(arena.buffer, offset, length);
  for (const element of elements) words[element >>> 5] = (words[element >>> 5] ?? 0) | (1 << (element & 31));
};

/** The tensors that an engine holds. */
export interface Memory {
  /** Every one, by name, as it is fed where nothing is perturbed. */
  readonly weights: ReadonlyMap<string, Slab>;
  readonly slots: readonly Slot[];
  /** Room for copies of tensors that are not trained but move. */
  readonly room: ReadonlyMap<string, Slab>;
  /** Takes thresholds of magnitude from the weights as they are. */
  mark(): void;
  /** Puts the first values, of weights and of states, where they were at the start. */
  rewind(): void;
}

/**
 * Lays the resident tensors out: what is trained with its optimizer states, its plane where it has one, and room for perturbed copies.
 *
 * @param copies perturbed copies at a time
 */
export const layOut = (
  { residents, training, cored, threads }: Pick<EnginePlan, "residents" | "training" | "cored" | "threads">,
  copies: number,
): Memory => {
  const bases = new Set(cored?.matrices.map(({ base }) => base));
  const initial = training?.initial ?? [];
  const { subspace } = training ?? {};
  const hasPlane = training?.program.noise.plane === true;
  const slabs = allocate(
    residents.map(({ shape, trained, copied }) => {
      const size = elementsOf(shape);
      if (trained === undefined) return copied ? [size, copies * size] : [size];
      const states = trained.layouts.map((layout) => lengthOf(layout, size, trained.columns));
      // The last two: a bit an element, and two float64.
      return [size, copies * size, hasPlane ? Math.ceil(size / 32) : 0, training?.onSphere === true ? 4 : 0, ...states];
    }),
    threads,
  );
  const weights = new Map<string, Slab>();
  const slots: Slot[] = [];
  const rooms = new Map<string, Slab>();
  const moving = residents.filter(({ trained, copied, name }) => trained !== undefined || copied || bases.has(name));
  for (const [i, resident] of residents.entries()) {
    const [weight, room, plane, total, ...states] = slabs[i] ?? [];
    if (weight === undefined) continue;
    const { name, shape, trained } = resident;
    fill(resident, weight);
    weights.set(name, weight);
    if (resident.copied && room !== undefined) rooms.set(name, room);
    if (trained === undefined || room === undefined || plane === undefined || total === undefined) continue;
    const { columns, layouts, scalars, layer, block, kept } = trained;
    if (kept !== undefined) setBits(plane, kept);
    slots.push({
      ...{ name, shape, scalars, copies: room },
      ...(layer === undefined ? {} : { layer }),
      ...(block === undefined ? {} : { block }),
      tensor: {
        ...{ id: tensorId(name), weight, columns, states, layouts },
        ...(hasPlane ? { plane } : {}),
        ...(total.length === 0 ? {} : { total }),
      },
    });
  }
  const start = () => {
    for (const { tensor } of slots)
      for (const [s, slab] of tensor.states.entries()) floatsOf(slab).fill(initial[s] ?? 0);
  };
  start();
  const mark = () => {
    if (subspace?.kind !== "magnitude") return;
    for (const { tensor } of slots) {
      const threshold = magnitudeBelow(floatsOf(tensor.weight), 1 - subspace.sparsity);
      // Nothing is at rest where nothing is to be, or where there are no magnitudes to tell apart (LoRA's B starts at 0).
      tensor.threshold = subspace.sparsity === 0 || threshold === 0 ? Number.POSITIVE_INFINITY : threshold;
    }
  };
  mark();
  return {
    mark,
    weights,
    slots,
    room: rooms,
    rewind() {
      for (const resident of moving) {
        const slab = weights.get(resident.name);
        if (slab !== undefined) fill(resident, slab);
      }
      start();
    },
  };
};
