import { isUtf8 } from "node:buffer";
import { ZerothError } from "../errors.js";
import { oneLine } from "../one-line.js";
import type { Attribute, Dim, External, Graph, Initializer, Model, Node, Opset, Port } from "./ir.js";
import {
  bytes,
  type Chunks,
  type Field,
  fields,
  float,
  floatsOf,
  int,
  intOf,
  intsOf,
  join,
  malformed,
  message,
  packed,
  text,
  textOf,
} from "./protobuf.js";

/* ONNX's messages by field number, as onnx.proto3 gives them. What is not read is kept and written back. */
const MODEL = { irVersion: 1, graph: 7, opset: 8 };
const OPSET = { domain: 1, version: 2 };
const GRAPH = { node: 1, name: 2, initializer: 5, input: 11, output: 12 };
const NODE = { input: 1, output: 2, name: 3, operator: 4, attribute: 5, domain: 7 };
const ATTRIBUTE = { name: 1, f: 2, i: 3, s: 4, floats: 7, ints: 8, type: 20 };
const ATTRIBUTE_GRAPHS = { one: 6, many: 11 };
const ATTRIBUTE_TYPE = { float: 1, int: 2, string: 3, floats: 6, ints: 7 };
const TENSOR = { dims: 1, dtype: 2, name: 8, raw: 9, external: 13, location: 14 };
const VALUE_INFO = { name: 1, type: 2 };
/** TensorProto.DataLocation. */
const EXTERNAL = 1;
const TYPE = { tensor: 1 };
const TENSOR_TYPE = { dtype: 1, shape: 2 };
const SHAPE = { dim: 1 };
const DIM = { value: 1, param: 2 };
const ENTRY = { key: 1, value: 2 };

const isText = (value: Attribute): value is string => typeof value === "string";

const encodeAttribute = (name: string, value: Attribute): Chunks => {
  if (typeof value === "object" && "raw" in value) return bytes(NODE.attribute, value.raw);
  const body = (type: number, content: Chunks) =>
    message(NODE.attribute, [...text(ATTRIBUTE.name, name), ...content, ...int(ATTRIBUTE.type, type)]);
  if (typeof value === "number") return body(ATTRIBUTE_TYPE.int, int(ATTRIBUTE.i, value));
  if (isText(value)) return body(ATTRIBUTE_TYPE.string, text(ATTRIBUTE.s, value));
  if ("float" in value) return body(ATTRIBUTE_TYPE.float, float(ATTRIBUTE.f, value.float));
  return body(
    ATTRIBUTE_TYPE.ints,
    value.flatMap((item) => int(ATTRIBUTE.ints, item)),
  );
};

const encodeNode = (node: Node): Chunks =>
  message(GRAPH.node, [
    ...node.inputs.flatMap((name) => text(NODE.input, name)),
    ...node.outputs.flatMap((name) => text(NODE.output, name)),
    ...text(NODE.name, node.name),
    ...text(NODE.operator, node.operator),
    ...Object.entries(node.attributes).flatMap(([name, value]) => encodeAttribute(name, value)),
    ...(node.domain === "" ? [] : text(NODE.domain, node.domain)),
    ...node.unknown,
  ]);

const entry = (key: string, value: string): Chunks =>
  message(TENSOR.external, [...text(ENTRY.key, key), ...text(ENTRY.value, value)]);

const encodeData = (data: Initializer["data"]): Chunks => {
  if (data === undefined) return [];
  if ("raw" in data) return bytes(TENSOR.raw, data.raw);
  const { location, offset, length } = data.external;
  return [
    ...entry("location", location),
    ...(offset === undefined ? [] : entry("offset", String(offset))),
    ...(length === undefined ? [] : entry("length", String(length))),
    ...int(TENSOR.location, EXTERNAL),
  ];
};

const encodeInitializer = ({ name, dtype, shape, data, unknown }: Initializer): Chunks =>
  message(GRAPH.initializer, [
    ...packed(TENSOR.dims, shape),
    ...int(TENSOR.dtype, dtype),
    ...text(TENSOR.name, name),
    ...encodeData(data),
    ...unknown,
  ]);

const encodeDim = (dim: Dim): Chunks =>
  message(SHAPE.dim, typeof dim === "number" ? int(DIM.value, dim) : text(DIM.param, dim));

const encodeType = (type: Port["type"]): Chunks => {
  if (type === undefined) return [];
  if ("raw" in type) return bytes(VALUE_INFO.type, type.raw);
  const tensor = [...int(TENSOR_TYPE.dtype, type.dtype), ...message(TENSOR_TYPE.shape, type.shape.flatMap(encodeDim))];
  return message(VALUE_INFO.type, message(TYPE.tensor, tensor));
};

const encodePort = (number: number, { name, type, unknown }: Port): Chunks =>
  message(number, [...text(VALUE_INFO.name, name), ...encodeType(type), ...unknown]);

/** A model as an ONNX file. */
export const encodeModel = ({ irVersion, opsets, graph, unknown }: Model): Uint8Array =>
  join([
    ...int(MODEL.irVersion, irVersion),
    ...message(MODEL.graph, [
      ...graph.nodes.flatMap(encodeNode),
      ...text(GRAPH.name, graph.name),
      ...graph.initializers.flatMap(encodeInitializer),
      ...graph.inputs.flatMap((port) => encodePort(GRAPH.input, port)),
      ...graph.outputs.flatMap((port) => encodePort(GRAPH.output, port)),
      ...graph.unknown,
    ]),
    ...opsets.flatMap(({ domain, version, unknown: rest }) =>
      message(MODEL.opset, [...text(OPSET.domain, domain), ...int(OPSET.version, version), ...rest]),
    ),
    ...unknown,
  ]);

/** What a field is read as: the wire types that it may have, and what becomes of it. */
interface Reader {
  readonly wires: readonly number[];
  take(field: Field): void;
}
const asInt = (take: (value: number) => void): Reader => ({ wires: [0], take: ({ value }) => take(intOf(value)) });
const asInts = (take: (value: number) => void): Reader => ({
  wires: [0, 2],
  take(field) {
    for (const value of intsOf(field)) take(value);
  },
});
const asFloat = (take: (value: number) => void): Reader => ({
  wires: [5],
  take: (field) => take(floatsOf(field)[0] ?? 0),
});
const asBytes = (take: (content: Uint8Array, field: Field) => void): Reader => ({
  wires: [2],
  take: (field) => take(field.bytes, field),
});
const asText = (take: (value: string) => void): Reader => asBytes((content) => take(textOf(content)));

/** Gives a message's fields to their readers by number; the rest is kept as it came. */
const read = (content: Uint8Array, readers: Readonly<Record<number, Reader>>): Uint8Array[] => {
  const unknown: Uint8Array[] = [];
  for (const field of fields(content)) {
    const reader = readers[field.number];
    if (reader?.wires.includes(field.wire)) reader.take(field);
    else unknown.push(field.raw);
  }
  return unknown;
};

/** A size, a version or another number that makes no sense beyond 2⁵³. */
const exact = (value: number): number => {
  if (!Number.isSafeInteger(value)) throw malformed(`the number ${value}`);
  return value;
};

const decodeAttribute = (content: Uint8Array): readonly [string, Attribute] => {
  let name = "";
  let type = 0;
  let i = 0;
  let f = 0;
  let s: Uint8Array = new Uint8Array(0);
  const ints: number[] = [];
  const unknown = read(content, {
    [ATTRIBUTE.name]: asText((value) => (name = value)),
    [ATTRIBUTE.type]: asInt((value) => (type = value)),
    [ATTRIBUTE.i]: asInt((value) => (i = value)),
    [ATTRIBUTE.f]: asFloat((value) => (f = value)),
    [ATTRIBUTE.s]: asBytes((value) => (s = value)),
    [ATTRIBUTE.ints]: asInts((value) => ints.push(value)),
  });
  const values: Readonly<Record<number, () => Attribute | undefined>> = {
    [ATTRIBUTE_TYPE.int]: () => (Number.isSafeInteger(i) ? i : undefined),
    [ATTRIBUTE_TYPE.float]: () => ({ float: f }),
    [ATTRIBUTE_TYPE.string]: () => (isUtf8(s) ? textOf(s) : undefined),
    [ATTRIBUTE_TYPE.ints]: () => (ints.every(Number.isSafeInteger) ? ints : undefined),
  };
  // Subgraphs, tensors, lists of floats and anything that JavaScript's values cannot hold are kept whole.
  const known = unknown.length === 0 ? values[type]?.() : undefined;
  return [name, known ?? { raw: content }];
};

const decodeNode = (content: Uint8Array): Node => {
  const inputs: string[] = [];
  const outputs: string[] = [];
  const attributes: (readonly [string, Attribute])[] = [];
  let name = "";
  let operator = "";
  let domain = "";
  const unknown = read(content, {
    [NODE.input]: asText((value) => inputs.push(value)),
    [NODE.output]: asText((value) => outputs.push(value)),
    [NODE.name]: asText((value) => (name = value)),
    [NODE.operator]: asText((value) => (operator = value)),
    [NODE.domain]: asText((value) => (domain = value)),
    [NODE.attribute]: asBytes((value) => attributes.push(decodeAttribute(value))),
  });
  return { name, operator, domain, inputs, outputs, attributes: Object.fromEntries(attributes), unknown };
};

/** The entries of external data that Zeroth reads; others (a checksum) are kept. */
const PLACES: readonly string[] = ["location", "offset", "length"];

const decodeInitializer = (content: Uint8Array): Initializer => {
  const shape: number[] = [];
  let dtype = 0;
  let name = "";
  let raw: Uint8Array | undefined;
  let location = 0;
  const entries = new Map<string, string>();
  const kept: Uint8Array[] = [];
  const unknown = read(content, {
    [TENSOR.dims]: asInts((value) => shape.push(exact(value))),
    [TENSOR.dtype]: asInt((value) => (dtype = exact(value))),
    [TENSOR.name]: asText((value) => (name = value)),
    [TENSOR.raw]: asBytes((value) => (raw = value)),
    [TENSOR.location]: asInt((value) => (location = value)),
    [TENSOR.external]: asBytes((item, field) => {
      let key = "";
      let value = "";
      const more = read(item, {
        [ENTRY.key]: asText((taken) => (key = taken)),
        [ENTRY.value]: asText((taken) => (value = taken)),
      });
      if (more.length === 0 && PLACES.includes(key)) entries.set(key, value);
      else kept.push(field.raw);
    }),
  });
  const tensor = { name, dtype, shape, unknown: [...kept, ...unknown] };
  if (location !== EXTERNAL) return { ...tensor, data: raw === undefined ? undefined : { raw } };
  const file = entries.get("location");
  if (file === undefined)
    throw new ZerothError(`Not a valid ONNX file: the tensor ${oneLine(name)} is external but names no file.`);
  const placeOf = (key: string): number | undefined => {
    const written = entries.get(key);
    if (written === undefined) return undefined;
    const value = /^\d+$/.test(written) ? Number(written) : Number.NaN;
    if (Number.isSafeInteger(value)) return value;
    throw new ZerothError(
      `Not a valid ONNX file: the tensor ${oneLine(name)} has "${oneLine(written, 40)}" as its ${key} in ${oneLine(file)}.`,
    );
  };
  const external: External = { location: file, offset: placeOf("offset"), length: placeOf("length") };
  return { ...tensor, data: { external } };
};

/** A size by number or by name; undefined where it has neither, or more than that. */
const decodeDim = (content: Uint8Array): Dim | undefined => {
  let dim: Dim | undefined;
  const unknown = read(content, {
    [DIM.value]: asInt((value) => (dim = exact(value))),
    [DIM.param]: asText((value) => (dim = value)),
  });
  return unknown.length === 0 ? dim : undefined;
};

const decodeType = (content: Uint8Array): Port["type"] => {
  let dtype = 0;
  let shape: (Dim | undefined)[] | undefined;
  const unknown: Uint8Array[] = [];
  const keep = (more: readonly Uint8Array[]): void => {
    for (const field of more) unknown.push(field);
  };
  keep(
    read(content, {
      [TYPE.tensor]: asBytes((tensor) =>
        keep(
          read(tensor, {
            [TENSOR_TYPE.dtype]: asInt((value) => (dtype = value)),
            [TENSOR_TYPE.shape]: asBytes((dims) => {
              const sizes: (Dim | undefined)[] = [];
              keep(read(dims, { [SHAPE.dim]: asBytes((dim) => sizes.push(decodeDim(dim))) }));
              shape = sizes;
            }),
          }),
        ),
      ),
    }),
  );
  const sizes = shape?.filter((dim) => dim !== undefined);
  return unknown.length === 0 && sizes !== undefined && sizes.length === shape?.length
    ? { dtype, shape: sizes }
    : { raw: content };
};

const decodePort = (content: Uint8Array): Port => {
  let name = "";
  let type: Port["type"];
  const unknown = read(content, {
    [VALUE_INFO.name]: asText((value) => (name = value)),
    [VALUE_INFO.type]: asBytes((value) => (type = decodeType(value))),
  });
  return { name, type, unknown };
};

const decodeGraph = (content: Uint8Array): Graph => {
  const nodes: Node[] = [];
  const initializers: Initializer[] = [];
  const inputs: Port[] = [];
  const outputs: Port[] = [];
  let name = "";
  const unknown = read(content, {
    [GRAPH.node]: asBytes((value) => nodes.push(decodeNode(value))),
    [GRAPH.name]: asText((value) => (name = value)),
    [GRAPH.initializer]: asBytes((value) => initializers.push(decodeInitializer(value))),
    [GRAPH.input]: asBytes((value) => inputs.push(decodePort(value))),
    [GRAPH.output]: asBytes((value) => outputs.push(decodePort(value))),
  });
  return { name, nodes, initializers, inputs, outputs, unknown };
};

/** The graphs inside a node's attributes: branches, and bodies of loops. */
export const subgraphsOf = ({ attributes }: Pick<Node, "attributes">): readonly Graph[] =>
  Object.values(attributes).flatMap((value) => {
    if (typeof value !== "object" || !("raw" in value)) return [];
    const graphs: Graph[] = [];
    const reader = asBytes((content) => graphs.push(decodeGraph(content)));
    read(value.raw, { [ATTRIBUTE_GRAPHS.one]: reader, [ATTRIBUTE_GRAPHS.many]: reader });
    return graphs;
  });

const decodeOpset = (content: Uint8Array): Opset => {
  let domain = "";
  let version = 0;
  const unknown = read(content, {
    [OPSET.domain]: asText((value) => (domain = value)),
    [OPSET.version]: asInt((value) => (version = exact(value))),
  });
  return { domain, version, unknown };
};

/**
 * Reads an ONNX file. Weights stay views of `content`; fields that are not known are kept and written back by `encodeModel`.
 * @throws ZerothError when the bytes are no ONNX model
 */
export const decodeModel = (content: Uint8Array): Model => {
  let irVersion = 0;
  let graph: Graph | undefined;
  const opsets: Opset[] = [];
  const unknown = read(content, {
    [MODEL.irVersion]: asInt((value) => (irVersion = exact(value))),
    [MODEL.graph]: asBytes((value) => (graph = decodeGraph(value))),
    [MODEL.opset]: asBytes((value) => opsets.push(decodeOpset(value))),
  });
  if (graph === undefined) throw new ZerothError("Not a valid ONNX file: it holds no graph.");
  return { irVersion, opsets, graph, unknown };
};
