import { dirname, relative, sep } from "node:path";
import { graphBuilder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";
import { encodeModel } from "../graph/onnx.js";
import { BLOCK, type BlockMatrix, type Place } from "../model/blocks.js";
import { remembering } from "../model/decoding.js";
import { type BoundFamily, blocks, moduleOf, type Parameter, type Parts } from "../model/family.js";
import { type Head, headOutput } from "../model/heads.js";
import { biased } from "../model/layers/bias.js";
import type { TensorSource } from "../model/weights.js";
import { POINTS } from "../peft/method.js";
import type { Resident } from "./protocol.js";
import { residentsOf, type TrainedWeights } from "./residents.js";

/** The runtime maps a tensor where it lies if the file holds it as the graph wants it: fp32, aligned, rows in order. */
const isMappable = (source: TensorSource): boolean =>
  source.encoding === "F32" && source.offset % 4 === 0 && source.kept === undefined;

/** The folder that some files have in common. */
export const commonFolder = (files: readonly string[]): string => {
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

/** What of a model a graph computes: the blocks from `start` on and the head; or those before `end`; or one row, token after token. */
export type Extent =
  | { readonly head: Head; readonly start: number }
  /** Its output is the hidden states that enter block `end`. */
  | { readonly end: number }
  /** Every logit; keys and values of the tokens before are inputs, those of all tokens outputs (`model/decoding.ts`). */
  | { readonly decoding: true }
  /** Its output is every block's keys and values side by side, [T, layers·2·keyHeads·headSize]. */
  | { readonly keys: true };

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
 * @param options.matrices those of the frozen matrices that stay in 4 or 8 bits
 */
export const buildForward = (
  options: TrainedWeights & {
    family: BoundFamily;
    matrices: ReadonlyMap<string, BlockMatrix>;
    extent: Extent;
  },
): Forward => {
  const { family, weights, matrices, extent, method, adapter } = options;
  const folder = commonFolder([...weights.values(), ...matrices.values()].map(({ file }) => file));
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
    const { name, shape, several } = resident;
    return g.input(name, "float32", several ? [POINTS, ...shape] : shape);
  };

  const locationOf = (file: string): string => relative(folder, file).split(sep).join("/");
  const { own, sourceOf, residentOf } = residentsOf(options);
  const parameters = new Map(family.parameters.map((parameter): [string, Parameter] => [parameter.name, parameter]));
  const trainable = (name: string): Value =>
    once(name, () => {
      const tensor = own.get(name);
      if (tensor === undefined) throw new Error(`no tensor ${name} of the method`);
      return hold(residentOf(tensor));
    });
  const weight = (name: string): Value =>
    once(name, () => {
      if (own.has(name)) return trainable(name);
      const source = sourceOf(name);
      const shape = parameters.get(name)?.shape ?? source.shape;
      if (!isMappable(source))
        return hold({ name, shape, several: false, copied: false, from: { kind: "source", source } });
      const { offset, length } = source;
      return g.weight(name, "float32", shape, { location: locationOf(source.file), offset, length });
    });
  const matrixOf = (name: string): BlockMatrix | undefined =>
    own.has(name) || adapter?.has(name) ? undefined : matrices.get(name);
  /** As in blocks. */
  const sizeOf = (name: string): readonly [rows: number, columns: number] => {
    const { shape = [], turned = false } = parameters.get(name) ?? {};
    const [rows = 0, columns = 0] = turned ? [...shape].reverse() : shape;
    return [rows, columns];
  };
  /** A part of a matrix in blocks, under a shape; one part may be mapped under two. */
  const part = (
    name: string,
    file: string,
    dtype: "uint8" | "float32",
    shape: readonly number[],
    { offset, length }: Place,
  ): Value => once(name, () => g.weight(name, dtype, shape, { location: locationOf(file), offset, length }));
  const rows = (name: string, indices: Value): Value => {
    const matrix = matrixOf(name);
    if (matrix === undefined || matrix.minima !== undefined) {
      const taken = g.op("Gather", [weight(name), indices], {}, `${name}.rows`);
      return method.rows?.(g, name, indices, taken, trainable) ?? taken;
    }
    const [count, width] = sizeOf(name);
    const { file, bits } = matrix;
    const table = part(`${name}.table`, file, "uint8", [count, (width * bits) / 8], matrix.blocks);
    const scales = part(`${name}.scales`, file, "float32", [count, width / BLOCK], matrix.scales);
    const attributes = { bits, block_size: BLOCK, gather_axis: 0, quantize_axis: 1 };
    return g.op("GatherBlockQuantized", [table, indices, scales], attributes, `${name}.rows`);
  };
  /** x's sums over the blocks of its columns, [T, K/32]; queries, keys and values share those of their x. */
  const blockSums = (x: Value, columns: number): Value =>
    once(`${x.name}.block_sums`, () => {
      const blocks = g.reshape(x, [-1, columns / BLOCK, BLOCK]);
      return g.op("ReduceSum", [blocks, g.constant([-1])], { keepdims: 0 }, `${x.name}.block_sums`);
    });
  const product = (name: string, x: Value): Value => {
    const module = moduleOf({ name });
    const matrix = matrixOf(name);
    if (matrix === undefined) {
      const transB = parameters.get(name)?.turned === true ? 0 : 1;
      const dense = g.op("Gemm", [x, weight(name)], { transB }, module);
      return method.product?.(g, name, x, dense, trainable) ?? dense;
    }
    const [outputs, inputs] = sizeOf(name);
    const { file, bits, minima, zeros } = matrix;
    const count = inputs / BLOCK;
    const operands = [
      x,
      part(`${name}.blocks`, file, "uint8", [outputs, count, 4 * bits], matrix.blocks),
      part(`${name}.scales`, file, "float32", [outputs, count], matrix.scales),
    ];
    // fp32 activations: with 8-bit ones the loss differences of zeroth-order steps drown in rounding. Decoding only compares logits, and there the
    // runtime would widen 8-bit matrices anew for every token.
    const accuracy = bits === 8 && "decoding" in extent ? 4 : 1;
    const attributes = { K: inputs, N: outputs, bits, block_size: BLOCK, accuracy_level: accuracy };
    if (minima === undefined || zeros === undefined) return g.op("MatMulNBits", operands, attributes, module);
    // scale·q alone, zero at 0; the minima multiply the sums over blocks, which is exact and small.
    const zero = part(`${name}.zeros`, file, "uint8", [outputs, Math.ceil((count * bits) / 8)], zeros);
    const scaled = g.op("MatMulNBits", [...operands, zero], attributes, `${module}.scaled`);
    const least = part(`${name}.minima`, file, "float32", [outputs, count], minima);
    return g.op("Gemm", [blockSums(x, inputs), least, scaled], { transB: 1 }, module);
  };
  const { embed, attend, shift: add } = method;
  const shift: Parts["shift"] = (name, taken) =>
    add === undefined || !own.has(name) ? undefined : (x) => add(g, x, trainable(name), taken);
  const project = (name: string, x: Value, bias?: string): Value => {
    const unbiased = product(name, x);
    if (bias === undefined) return unbiased;
    return biased({ g, weight, shift }, bias, ([added]) =>
      added === undefined ? unbiased : g.op("Add", [unbiased, added], {}, `${bias}.added`),
    );
  };
  const adapt = (module: string, x: Value, output: Value): Value =>
    method.attach?.(g, module, x, output, trainable) ?? output;
  const linear = (module: string, x: Value): Value => {
    const bias = `${module}.bias`;
    const base = project(`${module}.weight`, x, parameters.has(bias) ? bias : undefined);
    return adapt(module, x, base);
  };

  const seen: Value[] = [];
  const parts: Parts = {
    ...{ g, weight, rows, project, shift, linear, adapt },
    ...("decoding" in extent ? { remember: remembering(g) } : {}),
    ...(embed === undefined ? {} : { virtual: (embedded) => embed(g, embedded, trainable) }),
    attend(layer, { k, v }) {
      seen.push(k, v);
      return attend?.(g, layer, trainable);
    },
  };
  const pieces = family.pieces(parts);
  if ("keys" in extent) {
    blocks(pieces, pieces.embed(), 0, family.layers);
    g.output(g.op("Concat", seen, { axis: 1 }), OUTPUT);
  } else if ("end" in extent) g.output(blocks(pieces, pieces.embed(), 0, extent.end), OUTPUT);
  else {
    const { head, start } = "decoding" in extent ? ({ head: "logits", start: 0 } as const) : extent;
    const x = start === 0 ? pieces.embed() : g.input(HIDDEN, "float32", ["T", family.width]);
    const hidden = pieces.last(blocks(pieces, x, start, family.layers));
    g.output(headOutput(parts, head, hidden, family.head), OUTPUT);
  }
  // What the graph does not read is held all the same: cores that are added to copies.
  for (const tensor of own.values()) if (!values.has(tensor.name)) residents.push(residentOf(tensor));
  return { graph: encodeModel(g.build()), folder, residents };
};
