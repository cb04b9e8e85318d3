import { dirname, relative, sep } from "node:path";
import { graphBuilder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";
import { encodeModel } from "../graph/onnx.js";
import { type BoundFamily, blocks, type Parameter } from "../model/family.js";
import { type Head, headOutput } from "../model/heads.js";
import type { TensorSource } from "../model/weights.js";
import type { Method } from "../peft/method.js";
import type { Resident } from "./protocol.js";

/** The runtime maps a tensor where it lies if the file holds it as the graph wants it: fp32, aligned, rows in order. */
const isMappable = (source: TensorSource): boolean =>
  source.encoding === "F32" && source.offset % 4 === 0 && source.permutedHeads === undefined;

const commonFolder = (files: readonly string[]): string => {
  const [first = ".", ...rest] = files.map((file) => dirname(file).split(sep));
  const shared = rest.reduce<readonly string[]>(
    (prefix, parts) => {
      const differs = prefix.findIndex((part, i) => part !== parts[i]);
      return differs < 0 ? prefix : prefix.slice(0, differs);
    },
    first as readonly string[],
  );
  return shared.join(sep) || sep;
};

/** The name of every graph's output. */
export const OUTPUT = "output";
/** The input of a graph that starts in the middle: hidden states, [T, width]. */
export const HIDDEN = "hidden";

/** What of a model a graph computes: everything up to the head; or the blocks before `end`; or those from `start` on and the head. */
export type Extent =
  | { readonly head: Head; readonly start: number }
  /** Its output is the hidden states that enter block `end`. */
  | { readonly end: number };

/** What the graph of a model with a trainable set is, and which tensors the engine must hold for it. */
export interface Forward {
  readonly graph: Uint8Array;
  readonly folder: string;
  readonly residents: readonly Resident[];
}

/**
 * Builds the forward graph. A frozen fp32 tensor is an initializer that the runtime maps from the user's own file; a trainable
 * one, or one that has to be widened first, is a graph input over a buffer that the engine holds.
 *
 * @param adapter sources of saved trainable tensors, by canonical name; those absent start as the method says
 */
export const buildForward = (options: {
  family: BoundFamily;
  weights: ReadonlyMap<string, TensorSource>;
  extent: Extent;
  method: Method;
  trainable: boolean;
  seed: bigint;
  adapter?: ReadonlyMap<string, TensorSource>;
}): Forward => {
  const { family, weights, extent, method, seed, adapter } = options;
  const folder = commonFolder([...weights.values()].map(({ file }) => file));
  const g = graphBuilder("forward");
  const values = new Map<string, Value>();
  const residents: Resident[] = [];
  const once = (name: string, make: () => Value): Value => {
    const value = values.get(name) ?? make();
    values.set(name, value);
    return value;
  };
  const hold = (resident: Resident): Value => {
    residents.push(resident);
    return g.input(resident.name, "float32", resident.shape);
  };

  const trainables = new Map(method.tensors.map((tensor) => [tensor.name, tensor]));
  const parameters = new Map(family.parameters.map((parameter): [string, Parameter] => [parameter.name, parameter]));
  const sourceOf = (name: string): TensorSource => {
    const source = adapter?.get(name) ?? weights.get(name);
    if (source === undefined) throw new Error(`no weights for ${name}`);
    return source;
  };
  const trainable = (name: string): Value =>
    once(name, () => {
      const tensor = trainables.get(name);
      if (tensor === undefined) throw new Error(`no trainable tensor ${name}`);
      const { shape, initial } = tensor;
      const saved = adapter?.get(name);
      const from =
        saved !== undefined || initial.kind === "weights"
          ? ({ kind: "source", source: sourceOf(name) } as const)
          : initial.kind === "uniform"
            ? ({ ...initial, seed } as const)
            : initial;
      return hold({ name, shape, trainable: options.trainable, from });
    });
  const weight = (name: string): Value =>
    once(name, () => {
      if (trainables.has(name)) return trainable(name);
      const source = sourceOf(name);
      const shape = parameters.get(name)?.shape ?? source.shape;
      if (!isMappable(source)) return hold({ name, shape, trainable: false, from: { kind: "source", source } });
      const location = relative(folder, source.file).split(sep).join("/");
      return g.weight(name, "float32", shape, { location, offset: source.offset, length: source.length });
    });
  const linear = (module: string, x: Value): Value => {
    const bias = `${module}.bias`;
    const inputs = [x, weight(`${module}.weight`), ...(parameters.has(bias) ? [weight(bias)] : [])];
    const base = g.op("Gemm", inputs, { transB: 1 }, module);
    return method.attach?.(g, module, x, base, trainable) ?? base;
  };

  const pieces = family.pieces({ g, weight, linear });
  if ("end" in extent) g.output(blocks(pieces, pieces.embed(), 0, extent.end), OUTPUT);
  else {
    const { head, start } = extent;
    const x = start === 0 ? pieces.embed() : g.input(HIDDEN, "float32", ["T", family.width]);
    const hidden = pieces.last(blocks(pieces, x, start, family.layers));
    g.output(headOutput(g, head, hidden, weight(family.headWeight)), OUTPUT);
  }
  return { graph: encodeModel(g.build()), folder, residents };
};
