import { resolveSettings } from "../../src/api/settings.js";
import { trainingOf } from "../../src/api/training.js";
import type { Resident } from "../../src/engine/protocol.js";
import { openVariables, type Variables } from "../../src/engine/variables.js";
import { floatsOf, type Slab } from "../../src/kernels/arena.js";
import type { Method, Placement, Trainable } from "../../src/peft/method.js";
import type { Key } from "../../src/random/key.js";

/* What an engine trains, without a model to run: a few small tensors, and the kernels that move them. */

export const key = (step: number, query = 0): Key => ({ seed: 4n, stream: "noise", step, query });

const tensor = (name: string, shape: readonly number[], layer?: number): Trainable => ({
  ...{ name, shape, initial: { kind: "uniform", bound: 0.5 } },
  ...(layer === undefined ? {} : { layer }),
});
/** An embedding, blocks of two matrices and a norm, and a last norm: as a model's, with sizes that no vector divides. */
export const tensorsOf = (layers: number): readonly Trainable[] => [
  tensor("embed.weight", [13, 7]),
  ...Array.from({ length: layers }, (_, layer) => [
    tensor(`layers.${layer}.attn.weight`, [9, 7], layer),
    tensor(`layers.${layer}.mlp.weight`, [7, 21], layer),
    tensor(`layers.${layer}.norm.weight`, [7], layer),
  ]).flat(),
  tensor("norm.weight", [7]),
];
export const methodOf = (placement: Placement, tensors = tensorsOf(3)): Method => ({
  ...{ kind: "full", placement, firstLayer: 0, tensors },
});

type Given = Parameters<typeof resolveSettings>[0];
/** Variables of a method, opened as the engine opens them; `several` gives copies room for more points than one. */
export const open = (
  method: Method,
  given: Given = {},
  {
    masks,
    threads = 1,
    several = false,
  }: { masks?: ReadonlyMap<string, Uint32Array>; threads?: number; several?: boolean } = {},
) => {
  const settings = resolveSettings({ method: method.kind, optimizer: "mezo", seed: 6, ...given }, threads);
  const { plan, stepper, trained } = trainingOf(settings, method, 3, 100, masks);
  const cored = new Set(method.cored?.bySide === false ? method.cored.matrices.map(({ base }) => base) : []);
  const residents = [...method.tensors, ...(method.frozen ?? [])].map((of): Resident => {
    const { name, shape, initial } = of;
    const isTrained = method.tensors.includes(of);
    return {
      ...{ name, shape, several, copied: !isTrained && cored.has(name) },
      from: initial.kind === "uniform" ? { ...initial, seed: 1n } : { kind: "zeros" },
      ...(isTrained ? { trained: trained(of) } : {}),
    };
  });
  const variables = openVariables({
    ...{ residents, threads, placement: method.placement, training: plan },
    ...(method.cored === undefined ? {} : { cored: { ...method.cored, seed: 6n } }),
  });
  return { ...variables, trainables: variables.trainables!, stepper, plan };
};

/** Copies of values, by name. */
export const copyOf = (slabs: ReadonlyMap<string, Slab>): ReadonlyMap<string, Float32Array> =>
  new Map([...slabs].map(([name, slab]) => [name, floatsOf(slab).slice()]));
/** The live weights of what is trained, everything pending applied. */
export const liveOf = ({
  trainables,
  memory,
}: Pick<Variables, "memory"> & { trainables: NonNullable<Variables["trainables"]> }) => {
  trainables.settle();
  return copyOf(new Map(memory.slots.map(({ name, tensor: { weight } }) => [name, weight])));
};
/** Optimizer states, by tensor and number. */
export const statesOf = ({ memory }: Pick<Variables, "memory">) =>
  copyOf(
    new Map(
      memory.slots.flatMap(({ name, tensor: { states } }) => states.map((slab, i) => [`${name}#${i}`, slab] as const)),
    ),
  );

/** All values end to end. */
export const flat = (values: ReadonlyMap<string, Float32Array>): Float32Array =>
  Float32Array.from([...values.values()].flatMap((part) => [...part]));
export const bitsOf = (values: ReadonlyMap<string, Float32Array>): ReadonlyMap<string, string> =>
  new Map([...values].map(([name, part]) => [name, Buffer.from(part.slice().buffer).toString("hex")]));
/** Which elements differ, end to end. */
export const movedBetween = (a: ReadonlyMap<string, Float32Array>, b: ReadonlyMap<string, Float32Array>): string => {
  const other = flat(b);
  return Array.from(flat(a), (value, i) => (Object.is(value, other[i]) ? "0" : "1")).join("");
};
