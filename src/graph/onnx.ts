import { ZerothError } from "../errors.js";
import type { Attribute, Dim, External, Graph, Initializer, Model, Node, Port } from "./ir.js";
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
const ATTRIBUTE_TYPE = { float: 1, int: 2, string: 3, floats: 6, ints: 7 };
const TENSOR = { dims: 1, dtype: 2, name: 8, raw: 9, external: 13, location: 14 };
const VALUE_INFO = { name: 1, type: 2 };
const TENSOR_TYPE = { dtype: 1, shape: 2 };
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

const entry = (number: number, key: string, value: string): Chunks =>
  message(number, [...text(ENTRY.key, key), ...text(ENTRY.value, value)]);

const encodeInitializer = ({ name, dtype, shape, data, unknown }: Initializer): Chunks => {
  const content =
    "raw" in data
      ? bytes(TENSOR.raw, data.raw)
      : [
          ...entry(TENSOR.external, "location", data.external.location),
          ...entry(TENSOR.external, "offset", String(data.external.offset)),
          ...entry(TENSOR.external, "length", String(data.external.length)),
          ...int(TENSOR.location, 1),
        ];
  return message(GRAPH.initializer, [
    ...packed(TENSOR.dims, shape),
    ...int(TENSOR.dtype, dtype),
    ...text(TENSOR.name, name),
    ...content,
    ...unknown,
  ]);
};

const encodeDim = (dim: Dim): Chunks =>
  message(1, typeof dim === "number" ? int(DIM.value, dim) : text(DIM.param, dim));

const encodePort = (number: number, { name, type, unknown }: Port): Chunks => {
  const content =
    "raw" in type
      ? bytes(VALUE_INFO.type, type.raw)
      : message(
          VALUE_INFO.type,
          message(1, [
            ...int(TENSOR_TYPE.dtype, type.dtype),
            ...message(TENSOR_TYPE.shape, type.shape.flatMap(encodeDim)),
          ]),
        );
  return message(number, [...text(VALUE_INFO.name, name), ...content, ...unknown]);
};

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
    ...Object.entries(opsets).flatMap(([domain, version]) =>
      message(MODEL.opset, [...text(OPSET.domain, domain), ...int(OPSET.version, version)]),
    ),
    ...unknown,
  ]);

/** Sorts a message's fields by number into handlers; the rest is kept as it came. */
const read = (content: Uint8Array, handlers: Readonly<Record<number, (field: Field) => void>>): Uint8Array[] => {
  const unknown: Uint8Array[] = [];
  for (const field of fields(content)) {
    const handler = handlers[field.number];
    if (handler === undefined) unknown.push(field.raw);
    else handler(field);
  }
  return unknown;
};

const decodeAttribute = (content: Uint8Array): readonly [string, Attribute] => {
  let name = "";
  let type = 0;
  let i = 0;
  let f = 0;
  let s = "";
  const ints: number[] = [];
  const unknown = read(content, {
    [ATTRIBUTE.name]: ({ bytes: value }) => (name = textOf(value)),
    [ATTRIBUTE.type]: ({ value }) => (type = intOf(value)),
    [ATTRIBUTE.i]: ({ value }) => (i = intOf(value)),
    [ATTRIBUTE.f]: (field) => (f = floatsOf(field)[0] ?? 0),
    [ATTRIBUTE.s]: ({ bytes: value }) => (s = new TextDecoder().decode(value)),
    [ATTRIBUTE.ints]: (field) => ints.push(...intsOf(field)),
  });
  const values: Readonly<Record<number, Attribute>> = {
    [ATTRIBUTE_TYPE.int]: i,
    [ATTRIBUTE_TYPE.float]: { float: f },
    [ATTRIBUTE_TYPE.string]: s,
    [ATTRIBUTE_TYPE.ints]: ints,
  };
  // Subgraphs, tensors, lists of floats and anything with unknown parts are kept whole.
  const known = unknown.length === 0 && i === Math.trunc(i) && Number.isSafeInteger(i) ? values[type] : undefined;
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
    [NODE.input]: (field) => inputs.push(textOf(field.bytes)),
    [NODE.output]: (field) => outputs.push(textOf(field.bytes)),
    [NODE.name]: (field) => (name = textOf(field.bytes)),
    [NODE.operator]: (field) => (operator = textOf(field.bytes)),
    [NODE.domain]: (field) => (domain = textOf(field.bytes)),
    [NODE.attribute]: (field) => attributes.push(decodeAttribute(field.bytes)),
  });
  return { name, operator, domain, inputs, outputs, attributes: Object.fromEntries(attributes), unknown };
};

const decodeInitializer = (content: Uint8Array): Initializer => {
  const shape: number[] = [];
  let dtype = 0;
  let name = "";
  let raw: Uint8Array = new Uint8Array(0);
  let isExternal = false;
  const entries: Record<string, string> = {};
  const unknown = read(content, {
    [TENSOR.dims]: (field) => shape.push(...intsOf(field)),
    [TENSOR.dtype]: ({ value }) => (dtype = intOf(value)),
    [TENSOR.name]: (field) => (name = textOf(field.bytes)),
    [TENSOR.raw]: (field) => (raw = field.bytes),
    [TENSOR.location]: ({ value }) => (isExternal = value === 1n),
    [TENSOR.external]: (field) => {
      let key = "";
      let value = "";
      read(field.bytes, {
        [ENTRY.key]: (item) => (key = textOf(item.bytes)),
        [ENTRY.value]: (item) => (value = textOf(item.bytes)),
      });
      entries[key] = value;
    },
  });
  const { location, offset = "0", length = "0" } = entries;
  if (!isExternal) return { name, dtype, shape, data: { raw }, unknown };
  if (location === undefined)
    throw new ZerothError(`Not a valid ONNX file: the tensor ${name} is external but names no file.`);
  const external: External = { location, offset: Number(offset), length: Number(length) };
  if (![external.offset, external.length].every((value) => Number.isSafeInteger(value) && value >= 0)) {
    throw new ZerothError(`Not a valid ONNX file: the tensor ${name} lies at ${offset}, ${length} bytes long.`);
  }
  return { name, dtype, shape, data: { external }, unknown };
};

const decodeDim = (content: Uint8Array): Dim => {
  let dim: Dim = "";
  read(content, {
    [DIM.value]: ({ value }) => (dim = intOf(value)),
    [DIM.param]: (field) => (dim = textOf(field.bytes)),
  });
  return dim;
};

const decodeType = (content: Uint8Array): Port["type"] => {
  let type: Port["type"] = { raw: content };
  const unknown = read(content, {
    1: (field) => {
      let dtype = 0;
      let shape: Dim[] | undefined;
      const rest = read(field.bytes, {
        [TENSOR_TYPE.dtype]: ({ value }) => (dtype = intOf(value)),
        [TENSOR_TYPE.shape]: (inner) => {
          shape = [...fields(inner.bytes)].map((dim) => decodeDim(dim.bytes));
        },
      });
      if (shape !== undefined && rest.length === 0) type = { dtype, shape };
    },
  });
  return unknown.length === 0 ? type : { raw: content };
};

const decodePort = (content: Uint8Array): Port => {
  let name = "";
  let type: Port["type"] = { raw: new Uint8Array(0) };
  const unknown = read(content, {
    [VALUE_INFO.name]: (field) => (name = textOf(field.bytes)),
    [VALUE_INFO.type]: (field) => (type = decodeType(field.bytes)),
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
    [GRAPH.node]: (field) => nodes.push(decodeNode(field.bytes)),
    [GRAPH.name]: (field) => (name = textOf(field.bytes)),
    [GRAPH.initializer]: (field) => initializers.push(decodeInitializer(field.bytes)),
    [GRAPH.input]: (field) => inputs.push(decodePort(field.bytes)),
    [GRAPH.output]: (field) => outputs.push(decodePort(field.bytes)),
  });
  return { name, nodes, initializers, inputs, outputs, unknown };
};

/**
 * Reads an ONNX file. Weights stay views of `content`; fields that are not known are kept and written back by `encodeModel`.
 * @throws ZerothError when the bytes are no ONNX model
 */
export const decodeModel = (content: Uint8Array): Model => {
  let irVersion = 0;
  let graph: Graph | undefined;
  const opsets: Record<string, number> = {};
  const unknown = read(content, {
    [MODEL.irVersion]: ({ value }) => (irVersion = intOf(value)),
    [MODEL.graph]: (field) => (graph = decodeGraph(field.bytes)),
    [MODEL.opset]: (field) => {
      let domain = "";
      let version = 0;
      read(field.bytes, {
        [OPSET.domain]: (inner) => (domain = textOf(inner.bytes)),
        [OPSET.version]: ({ value }) => (version = intOf(value)),
      });
      opsets[domain] = version;
    },
  });
  if (graph === undefined) throw new ZerothError("Not a valid ONNX file: it holds no graph.");
  return { irVersion, opsets, graph, unknown };
};
