import { createHash } from "node:crypto";
import { join } from "node:path";
import { z } from "zod";
import { ZerothError } from "../errors.js";
import type { Builder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";
import { type Architecture, moduleOf, type Parameter } from "../model/family.js";
import { elementsOf, readTensorSync } from "../model/weights.js";
import { type Base, defineMethod } from "./define.js";
import { readMask, writeMask } from "./mask.js";
import { firstLayerOf, linearsOf, type Method, POINTS } from "./method.js";
import { inLayers, layers, positive, text } from "./options.js";

/** A linear layer, and the elements of its weight that move: ascending, as the file has them. */
interface Moved {
  readonly parameter: Parameter;
  readonly elements: Uint32Array;
}

/** A file of its own: the numbers of the elements, as a stored mask has them. */
const INDICES = "adapter_indices.safetensors";

/** Rows and columns of elements in y = W·x, whichever way the file has W. */
const placesOf = ({ parameter: { shape, turned = false }, elements }: Moved) => {
  const [, width = 1] = shape;
  const across = Array.from(elements, (element) => element % width);
  const down = Array.from(elements, (element) => Math.floor(element / width));
  return turned ? { rows: across, columns: down } : { rows: down, columns: across };
};

/**
 * What the changed elements add to y [N·T, outputs]: gathers and sums alone, whose order is fixed. Elements are laid out by their rows, each
 * filled up with elements that count 0 times.
 */
const sideOf = (g: Builder, moved: Moved, x: Value, base: Value, values: Value, at: string): Value => {
  const { rows, columns } = placesOf(moved);
  const byRow = new Map<number, number[]>();
  for (const [i, row] of rows.entries()) {
    const group = byRow.get(row);
    if (group === undefined) byRow.set(row, [i]);
    else group.push(i);
  }
  const longest = [...byRow.values()].reduce((most, { length }) => Math.max(most, length), 0);
  // The last group is empty: what a row without elements takes.
  const groups = [...byRow.values(), []];
  const slots = groups.flatMap((group) => Array.from({ length: longest }, (_, j) => group[j] ?? -1));
  const order = new Map([...byRow.keys()].map((row, i) => [row, i]));
  const { shape, turned = false } = moved.parameter;
  const outputs = shape[turned ? 1 : 0] ?? 0;
  const places = Array.from({ length: outputs }, (_, row) => order.get(row) ?? groups.length - 1);
  const turn = (value: Value): Value => g.op("Transpose", [value], { perm: [1, 0] });
  const gather = (value: Value, indices: readonly number[]): Value => g.op("Gather", [value, g.constant(indices)]);
  const counts = g.constant(
    Float32Array.from(slots, (slot) => (slot < 0 ? 0 : 1)),
    [slots.length, 1],
  );
  const deltas = g.op("Mul", [
    gather(
      turn(values),
      slots.map((slot) => Math.max(slot, 0)),
    ),
    counts,
  ]);
  const inputs = gather(
    turn(x),
    slots.map((slot) => columns[Math.max(slot, 0)] ?? 0),
  );
  // [slots, N, T]: each point's tokens meet its own values.
  const apart = g.op("Concat", [g.constant([slots.length]), g.size(POINTS), g.constant([-1])], { axis: 0 });
  const products = g.op("Mul", [g.op("Reshape", [inputs, apart]), g.reshape(deltas, [0, 0, 1])]);
  const grouped = g.op("Concat", [g.constant([groups.length, longest]), g.constant([-1])], { axis: 0 });
  const sums = g.op("ReduceSum", [g.op("Reshape", [products, grouped]), g.constant([1])], { keepdims: 0 });
  return g.op("Add", [base, turn(gather(sums, places))], {}, at);
};

/**
 * Some elements of linear layers (SensZOQ, arXiv 2406.02913): what is trained and kept is what is added to each. The weights themselves, which
 * may be in 4 or 8 bits, stay as they are.
 */
const sparseMethod = (all: readonly Moved[]): Method => {
  const moved = new Map(all.filter(({ elements }) => elements.length > 0).map((one) => [moduleOf(one.parameter), one]));
  const parts = [...moved.values()];
  return {
    kind: "sparse",
    placement: "copies",
    firstLayer: firstLayerOf(parts.map(({ parameter }) => parameter)),
    tensors: parts.map(({ parameter: { name, layer }, elements }) => ({
      ...{ name: nameOf(name), shape: [elements.length], initial: { kind: "zeros" } },
      ...(layer === undefined ? {} : { layer }),
    })),
    indices: new Map(parts.map(({ parameter, elements }) => [parameter.name, elements])),
    stamp: createHash("sha256")
      .update(JSON.stringify(parts.map(({ parameter, elements }) => [parameter.name, [...elements]])))
      .digest("hex"),
    merge: new Map(
      parts.map(({ parameter: { name }, elements }) => [
        name,
        {
          from: [nameOf(name)],
          into: (weight, deltas = new Float32Array()) =>
            elements.forEach((element, i) => {
              weight[element] = (weight[element] ?? 0) + (deltas[i] ?? 0);
            }),
        },
      ]),
    ),
    attach(g, module, x, base, tensor) {
      const own = moved.get(module);
      return own === undefined ? base : sideOf(g, own, x, base, tensor(nameOf(own.parameter.name)), `${module}.sparse`);
    },
  };
};

const nameOf = (weight: string): string => `${weight}.values`;

/** The `count`-th largest of some keys: 16 bits of it after the other, which takes two walks and no sorting. */
const thresholdOf = (keys: Uint32Array, count: number): number => {
  let [left, prefix] = [count, 0];
  for (const shift of [16, 0]) {
    const histogram = new Uint32Array(2 ** 16);
    for (const key of keys)
      if (shift === 16 || key >>> 16 === prefix) {
        const bucket = (key >>> shift) & 0xffff;
        histogram[bucket] = (histogram[bucket] ?? 0) + 1;
      }
    let bucket = 0xffff;
    for (; bucket > 0 && left > (histogram[bucket] ?? 0); bucket--) left -= histogram[bucket] ?? 0;
    prefix = prefix * 2 ** 16 + bucket;
  }
  return prefix;
};

/** The elements that are largest in magnitude, ascending; of equal ones the first. */
const largest = ({ files }: Base, { name, shape }: Parameter, density: number): Uint32Array => {
  const source = files.weights.get(name);
  if (source === undefined) throw new Error(`no weights for ${name}`);
  const count = Math.max(1, Math.round(density * elementsOf(shape)));
  // A float's bits without its sign grow as its magnitude does.
  const sizes = new Uint32Array(readTensorSync(source).buffer).map((bits) => bits & 0x7fffffff);
  const threshold = thresholdOf(sizes, count);
  let equal = count;
  for (const size of sizes) if (size > threshold) equal--;
  const found = new Uint32Array(count);
  let at = 0;
  for (let i = 0; i < sizes.length; i++) {
    const size = sizes[i] ?? 0;
    if (size > threshold || (size === threshold && equal-- > 0)) found[at++] = i;
  }
  return found;
};

/** @throws ZerothError that names the file, and the tensor that is no linear layer of the model */
const fromFile = (file: string, family: Architecture, among = family.parameters): readonly Moved[] => {
  const linears = linearsOf(among);
  const read = readMask(file, linears);
  return linears.map((parameter) => ({ parameter, elements: read.get(parameter.name) ?? new Uint32Array() }));
};

export const sparse = defineMethod({
  name: "sparse",
  summary: "what is added to a few elements of the linear layers (arXiv 2406.02913)",
  options: {
    /** A safetensors file with the numbers of the elements, an I32 tensor for each weight. Default: the largest in magnitude. */
    indices: text(
      "--indices <file>",
      "safetensors file with the numbers of the elements that move",
      "the largest in magnitude",
      z.string().nullable().default(null),
    ),
    /** The fraction of each linear layer's elements, where no file says which. Default 0.001. */
    density: positive("--density <x>", "fraction of the elements that move", 0.001, 1),
    layers,
  },
  tuning: { of: "full", learningRate: 10 },
  bind(base, { indices, density, layers: range }) {
    const among = inLayers(base.family, range);
    if (indices === null)
      return sparseMethod(
        linearsOf(among).map((parameter) => ({ parameter, elements: largest(base, parameter, density) })),
      );
    const method = sparseMethod(fromFile(indices, base.family, among));
    if (method.tensors.length > 0) return method;
    throw new ZerothError(`--indices ${indices}: it lists no elements.`, { kind: "usage" });
  },
  folder: {
    type: "SPARSE",
    schema: z.looseObject({}),
    config: () => ({}),
    read: ({ family }, { folder }) => sparseMethod(fromFile(join(folder, INDICES), family)),
    write: async (folder, { indices = new Map() }) => writeMask(join(folder, INDICES), indices),
  },
});
