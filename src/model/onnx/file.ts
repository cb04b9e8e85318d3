import { readFileSync, realpathSync, statSync } from "node:fs";
import { messageOf, ZerothError } from "../../errors.js";
import type { Graph, Initializer, Model, Node, Unknown } from "../../graph/ir.js";
import { decodeModel } from "../../graph/onnx.js";
import { oneLine } from "../../one-line.js";
import { elementsOf } from "../weights.js";
import { unmerged } from "./merged.js";
import { placeOf } from "./place.js";

/** Bits of an element, by ONNX's number of its type; strings and types that are not here have no bytes of their own. */
const BITS: Readonly<Record<number, number>> = {
  ...{ 1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16 },
  ...{ 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2 },
};

/** A protobuf message cannot be longer. */
const LONGEST = 2 ** 31 - 1;
/** Tensors of fewer bytes stay in the graph; the others stay in their files. */
const SMALL = 4096;

/** A stretch of a file, by its real path, in bytes. */
export interface Place {
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

/** An ONNX file, read: its larger tensors are places in files, by real paths, wherever they lay. */
export interface OnnxFile {
  /** As it was given. */
  readonly path: string;
  readonly model: Model;
  /** Where every tensor that is plain bytes lies, by its name. */
  readonly places: ReadonlyMap<string, Place>;
  /** Real paths: the ONNX file itself, then those that it keeps weights in. */
  readonly files: readonly string[];
}

const detached = (unknown: Unknown): Unknown => unknown.map((field) => field.slice());

/** Without views into the file's bytes, so that these can go. */
const detachedNode = (node: Node): Node => ({
  ...node,
  attributes: Object.fromEntries(
    Object.entries(node.attributes).map(([name, value]) => [
      name,
      typeof value === "object" && "raw" in value ? { raw: value.raw.slice() } : value,
    ]),
  ),
  unknown: detached(node.unknown),
});

const detachedPort = <P extends Graph["inputs"][number]>(port: P): P => ({
  ...port,
  type: port.type !== undefined && "raw" in port.type ? { raw: port.type.raw.slice() } : port.type,
  unknown: detached(port.unknown),
});

/** Bytes that a tensor's elements take. @throws ZerothError for sizes that no tensor has */
const bytesOf = ({ name, shape, dtype }: Initializer, path: string): number => {
  const count = elementsOf(shape);
  if (shape.some((dim) => dim < 0) || !Number.isSafeInteger(count * 16))
    throw new ZerothError(
      `${path}: the tensor ${oneLine(name)} has the size [${shape.slice(0, 8)}]: the file is damaged.`,
    );
  return Math.ceil((count * (BITS[dtype] ?? 0)) / 8);
};

type Settled = readonly [tensor: Initializer, place: Place | undefined];

/** Checks a tensor against the bytes that there are, and leaves a large one where it lies. */
const settle = (tensor: Initializer, content: Uint8Array, path: string, root: string): Settled => {
  const { name, dtype, data } = tensor;
  const expected = bytesOf(tensor, path);
  const wrong = (found: string): ZerothError =>
    new ZerothError(
      `${path}: the tensor ${oneLine(name)} [${tensor.shape}] takes ${expected} bytes, but ${found}.\nThe file is damaged or cut short: fetch it again.`,
    );
  if (data === undefined) {
    // Values in fields of other kinds (`float_data`) take half a byte at least.
    const held = tensor.unknown.reduce((sum, field) => sum + field.length, 0);
    if (expected > 0 && expected / 16 > held) throw wrong(`the file holds ${held} for it`);
    return [{ ...tensor, unknown: detached(tensor.unknown) }, undefined];
  }
  const unknown = detached(tensor.unknown);
  if (BITS[dtype] === undefined)
    throw new ZerothError(`${path}: the tensor ${oneLine(name)} is of the type ${dtype}, which is not supported.`);
  if ("raw" in data) {
    if (data.raw.length !== expected) throw wrong(`the file holds ${data.raw.length} for it`);
    const offset = data.raw.byteOffset - content.byteOffset;
    const external = { location: realpathSync(path), offset, length: expected };
    return [{ ...tensor, unknown, data: expected < SMALL ? { raw: data.raw.slice() } : { external } }, external];
  }
  const { location, offset = 0, length = expected } = data.external;
  const file = placeOf(root, path, location);
  if (length !== expected) throw wrong(`${length} bytes of ${file} are given for it`);
  const { size } = statSync(file);
  if (offset + expected > size) throw wrong(`${file} ends at ${size}, and it begins at ${offset}`);
  const external = { location: file, offset, length: expected };
  return [{ ...tensor, unknown, data: { external } }, external];
};

/**
 * Reads an ONNX file; its weights stay where they are. Of a merged decoder it is the branch without a cache.
 *
 * @param root the model's folder
 * @throws ZerothError that names the file, for one that is no ONNX, cut short, damaged, or keeps weights elsewhere
 */
export const readOnnx = (path: string, root: string): OnnxFile => {
  let content: Uint8Array;
  let model: Model;
  try {
    const { size } = statSync(path);
    if (size > LONGEST) throw new ZerothError(`it has ${size} bytes, more than a graph may have`);
    content = readFileSync(path);
    const whole = decodeModel(content);
    model = { ...whole, graph: unmerged(whole.graph) };
  } catch (error) {
    const why = messageOf(error).replace(/\.$/, "");
    throw new ZerothError(`${path} cannot be read as an ONNX model: ${why}.\nFetch or copy it again.`, {
      cause: error,
    });
  }
  const { graph } = model;
  const settled = graph.initializers.map((tensor) => settle(tensor, content, path, root));
  const places = new Map(settled.flatMap(([{ name }, place]) => (place === undefined ? [] : [[name, place] as const])));
  return {
    path,
    places,
    files: [...new Set([realpathSync(path), ...[...places.values()].map(({ location }) => location)])],
    model: {
      ...model,
      opsets: model.opsets.map((opset) => ({ ...opset, unknown: detached(opset.unknown) })),
      graph: {
        ...graph,
        nodes: graph.nodes.map(detachedNode),
        initializers: settled.map(([tensor]) => tensor),
        inputs: graph.inputs.map(detachedPort),
        outputs: graph.outputs.map(detachedPort),
        unknown: detached(graph.unknown),
      },
      unknown: detached(model.unknown),
    },
  };
};
