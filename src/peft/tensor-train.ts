import { z } from "zod";
import { ZerothError } from "../errors.js";
import type { Builder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";
import { moduleOf, type Parameter } from "../model/family.js";
import { builtHere } from "./built-here.js";
import { defineMethod } from "./define.js";
import { apart, endsWith, firstLayerOf, linearsOf, type Method, type Trainable } from "./method.js";
import { inLayers, LARGEST, layers, modules as moduleNames, text, whole } from "./options.js";

/** Cores of each side of a matrix: [16, 16, 16] for 4,096 inputs, [4, 4, 4] for 64 outputs (AdaZeta's shapes for Llama). */
const SIDE = 3;

/** Three factors of a number, near each other, in descending order. */
export const factorsOf = (size: number): readonly number[] => {
  const nearest = (value: number, root: number): number => {
    let factor = Math.max(1, Math.floor(root + 1e-9));
    while (value % factor !== 0) factor--;
    return factor;
  };
  const least = nearest(size, Math.cbrt(size));
  const middle = nearest(size / least, Math.sqrt(size / least));
  return [size / least / middle, middle, least].sort((a, b) => b - a);
};

/** A matrix [inputs, outputs] as a train of cores [rank before, factor, rank after]; its two sides are contracted apart. */
interface Train {
  readonly inputs: number;
  readonly outputs: number;
  readonly cores: readonly { readonly name: string; readonly shape: readonly [number, number, number] }[];
}

const trainOf = (name: string, inputs: number, outputs: number, rank: number): Train => {
  const factors = [...factorsOf(inputs), ...[...factorsOf(outputs)].reverse()];
  const cores = factors.map((factor, i) => ({
    name: `${name}.${i}`,
    shape: [i === 0 ? 1 : rank, factor, i === factors.length - 1 ? 1 : rank] as const,
  }));
  return { inputs, outputs, cores };
};

/** Cores of Gaussians such that the matrix that they are has the deviation of a linear layer's: σ^(1/cores) / √(rank after). */
const coresOf = ({ inputs, outputs, cores }: Train): readonly Trainable[] =>
  cores.map(({ name, shape }) => ({
    ...{ name, shape },
    initial: {
      kind: "normal",
      deviation: Math.sqrt(1 / (inputs + outputs)) ** (1 / cores.length) / Math.sqrt(shape[2]),
    },
  }));

/** x [N, T, inputs] times the matrix, which is never made: each side's cores become one thin matrix, [inputs, rank] and [rank, outputs]. */
const times = (g: Builder, x: Value, { inputs, outputs, cores }: Train, tensor: (name: string) => Value): Value => {
  const [first, second] = [cores.slice(0, SIDE), cores.slice(SIDE)];
  const rank = first.at(-1)?.shape[2] ?? 1;
  const multiplied = (a: Value, b: Value) => g.op("MatMul", [a, b]);
  /** From the left: [N, inputs so far, rank]. */
  const left = first.reduce<Value | undefined>((made, { name, shape: [before, factor, after] }) => {
    const core = g.reshape(tensor(name), [0, before, factor * after]);
    return g.reshape(made === undefined ? core : multiplied(made, core), [0, -1, after]);
  }, undefined);
  /** From the right: [N, rank, outputs so far]. */
  const right = second.reduceRight<Value | undefined>((made, { name, shape: [before, factor, after] }) => {
    const core = g.reshape(tensor(name), [0, before * factor, after]);
    return g.reshape(made === undefined ? core : multiplied(core, made), [0, before, -1]);
  }, undefined);
  if (left === undefined || right === undefined) throw new Error("a train without cores");
  const thin = multiplied(x, g.reshape(left, [0, inputs, rank]));
  return multiplied(thin, g.reshape(right, [0, rank, outputs]));
};

interface Adapter {
  readonly module: string;
  readonly layer: number;
  readonly width: number;
  readonly down: Train;
  readonly up: Train;
}

const at = (module: string, part: string): string => `base_model.model.${module}.tensor_train.${part}`;

/**
 * Bottleneck adapters (AdaZeta, arXiv 2406.18060): what a sublayer gives, h, becomes h + up(relu(down(h))), down and up being tensor trains with
 * biases. Step 0 is not the base model: no part starts at zero.
 */
const tensorTrainMethod = (
  parameters: readonly Parameter[],
  { bottleneck, rank }: { readonly bottleneck: number; readonly rank: number },
): Method => {
  const adapters = parameters.map((parameter): Adapter => {
    const { shape, turned = false, layer = 0 } = parameter;
    const module = moduleOf(parameter);
    const width = shape[turned ? 1 : 0] ?? 0;
    return {
      ...{ module, layer, width },
      down: trainOf(at(module, "down"), width, bottleneck, rank),
      up: trainOf(at(module, "up"), bottleneck, width, rank),
    };
  });
  const byModule = new Map(adapters.map((adapter) => [adapter.module, adapter]));
  return {
    kind: "tensor-train",
    placement: "copies",
    firstLayer: firstLayerOf(adapters),
    merge: "its adapters have a nonlinearity between their two matrices, which no weight of the model can hold",
    tensors: adapters.flatMap(({ module, layer, width, down, up }) =>
      [
        ...coresOf(down),
        { name: at(module, "down.bias"), shape: [bottleneck], initial: { kind: "zeros" } } as const,
        ...coresOf(up),
        { name: at(module, "up.bias"), shape: [width], initial: { kind: "zeros" } } as const,
      ].map((tensor) => ({ ...tensor, layer })),
    ),
    attach(g, module, _, base, tensor) {
      const adapter = byModule.get(module);
      if (adapter === undefined) return base;
      const { width, down, up } = adapter;
      const biased = (x: Value, part: string, size: number) =>
        g.op("Add", [x, g.reshape(tensor(at(module, `${part}.bias`)), [0, 1, size])]);
      const narrow = biased(times(g, apart(g, base, width), down, tensor), "down", bottleneck);
      const wide = biased(times(g, g.op("Relu", [narrow]), up, tensor), "up", width);
      return g.op("Add", [base, g.reshape(wide, [-1, width])], {}, `${module}.adapted`);
    },
  };
};

export const tensorTrain = defineMethod({
  name: "tensor-train",
  summary: "bottleneck adapters of tensor trains after attention and the MLP (AdaZeta, arXiv 2406.18060)",
  options: {
    /** Of the cores. Default 5. */
    rank: whole("--rank <r>", "rank of the tensor trains", 5),
    /** Elements between an adapter's two matrices. Default 64. */
    bottleneck: whole("--bottleneck <n>", "elements between an adapter's two matrices", 64),
    /** Module names whose outputs are adapted. Default: those that end a block's attention and its MLP. */
    targets: text(
      "--targets <names>",
      "modules whose outputs are adapted, split at commas",
      "those that end attention and the MLP",
      moduleNames.nullable().default(null),
    ),
    layers,
  },
  // AdaZeta's ε is a tenth of what LoRA is trained with.
  tuning: { of: "adapter", epsilon: 0.1 },
  bind(base, { rank, bottleneck, targets, layers: range }) {
    const family = builtHere(base);
    const names = targets ?? family.ends;
    const chosen = linearsOf(inLayers(family, range)).filter(
      (parameter) => names === "all-linear" || names.some((name) => endsWith(moduleOf(parameter), name)),
    );
    if (chosen.length > 0) return tensorTrainMethod(chosen, { rank, bottleneck });
    throw new ZerothError(`--targets: no linear layer of the model matches ${String(names)}.`, { kind: "usage" });
  },
  folder: {
    type: "TENSOR_TRAIN",
    schema: z.looseObject({ r: z.int().min(1).max(LARGEST), bottleneck: z.int().min(1).max(LARGEST) }),
    config: (_, { rank, bottleneck }) => ({ r: rank, bottleneck }),
    read: ({ family }, { config: { r: rank, bottleneck }, tensors }) =>
      tensorTrainMethod(
        linearsOf(family.parameters).filter((parameter) => tensors.has(at(moduleOf(parameter), "up.bias"))),
        { rank, bottleneck },
      ),
  },
});
