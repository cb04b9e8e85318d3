import { relative, sep } from "node:path";
import type { Builder } from "../graph/builder.js";
import type { Attribute, Initializer, Node, Value } from "../graph/ir.js";
import type { ImportedGraph } from "../model/onnx/imported.js";
import type { RowFeed } from "../model/onnx/inputs.js";
import { stretchOf } from "../model/onnx/write.js";

/* ONNX's numbers of element types. */
export const FLOAT32 = 1;
export const INT64 = 7;

/** Values of the imported graph by the names that they have in the new one, and nodes that no shape rule is needed for. */
export const weaving = (g: Builder, called: (name: string) => string) => {
  const replaced = new Map<string, string>();
  const nodes: Node[] = [];
  const emit = (
    operator: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, Attribute>> = {},
    output = `zeroth/${nodes.length}/${operator}`,
  ): string => {
    nodes.push({ name: output, operator, domain: "", inputs, outputs: [output], attributes, unknown: [] });
    return output;
  };
  return {
    nodes,
    replaced,
    emit,
    resolve: (name: string): string => replaced.get(name) ?? called(name),
    cast: (name: string, from: number, to: number): string => (from === to ? name : emit("Cast", [name], { to })),
    /** As [T, width], whatever its shape. */
    flat: (name: string, width: number, rows = "T"): Value =>
      g.reshape({ name, dtype: "float32", shape: [rows, width] }, [-1, width]),
    /** In the shape of another value. */
    shapedAs: (name: string, like: string): string => emit("Reshape", [name, emit("Shape", [like])]),
  };
};
type Weaving = ReturnType<typeof weaving>;

/** Gives the graph its inputs: rows of tokens, caches of nothing. */
export const giveInputs = (g: Builder, { inputs }: ImportedGraph, woven: Weaving) => {
  const { emit, replaced } = woven;
  const feeds = new Map<RowFeed, Value>();
  const feed = (name: RowFeed): string => {
    const value = feeds.get(name) ?? g.input(name, "int32", ["R", "L"]);
    feeds.set(name, value);
    return value.name;
  };
  let sizes: string | undefined;
  /** The number of rows, or their length: int64 [1]. */
  const size = (axis: 0 | 1): string => {
    sizes ??= emit("Shape", [feed("ids")]);
    return emit("Gather", [sizes, g.constant([axis]).name]);
  };
  const caches = new Map<string, string>();
  const cache = (shape: readonly (number | null)[], dtype: number): string => {
    const key = `${shape} ${dtype}`;
    const known = caches.get(key);
    if (known !== undefined) return known;
    const dims = shape.map((dim) => (dim === null ? size(0) : g.constant([dim]).name));
    const zeros = emit("ConstantOfShape", [emit("Concat", dims, { axis: 0 })]);
    const value = woven.cast(zeros, FLOAT32, dtype);
    caches.set(key, value);
    return value;
  };
  for (const { name, dtype, given } of inputs) {
    if (given.kind === "row") replaced.set(name, emit("Cast", [feed(given.feed)], { to: dtype }));
    else if (given.kind === "cache") replaced.set(name, cache(given.shape, dtype));
    else {
      const zero = given.shape.length === 0 ? emit("Squeeze", [g.constant([0]).name]) : g.constant([0]).name;
      replaced.set(name, woven.cast(zero, INT64, dtype));
    }
  }
  return { rowLength: () => size(1) };
};

/** A tensor under a name of the new graph, at its place relative to a folder where the runtime can map it. */
export const placed = (tensor: Initializer, name: string, folder: string): Initializer => {
  const { data } = tensor;
  if (data === undefined || !("external" in data)) return { ...tensor, name };
  const { location, offset = 0, length = 0 } = data.external;
  // The runtime maps aligned tensors alone.
  if (offset % 4 !== 0)
    return { ...tensor, name, data: { raw: Buffer.concat([...stretchOf({ location, offset, length })]) } };
  const place = relative(folder, location).split(sep).join("/");
  return { ...tensor, name, data: { external: { location: place, offset, length } } };
};
