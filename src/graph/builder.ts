import { messageOf } from "../errors.js";
import {
  type Attribute,
  type Dim,
  type Dtype,
  dtypeBytes,
  dtypes,
  type External,
  type Initializer,
  type Model,
  type Node,
  type Port,
  type Value,
} from "./ir.js";
import { operators, type Typed } from "./operators.js";

/** Builds an ONNX graph node by node; shapes are inferred, and a wrong one throws at once with the node's name. */
export interface Builder {
  input(name: string, dtype: Dtype, shape: readonly Dim[]): Value;
  /** A weight whose bytes stay in the file that holds them. */
  weight(name: string, dtype: Dtype, shape: readonly number[], external: External): Value;
  /** A small constant; equal ones are shared. */
  constant(values: Float32Array | readonly number[], shape?: readonly number[]): Value;
  /** @throws Error naming the node when the operator is unknown or the shapes do not fit */
  op(
    operator: string,
    inputs: readonly Value[],
    attributes?: Readonly<Record<string, Attribute>>,
    name?: string,
  ): Value;
  reshape(x: Value, shape: readonly number[], name?: string): Value;
  /** An input, int64 [1], whose value is the size that shapes call `name`. */
  size(name: string): Value;
  output(value: Value, name: string): void;
  build(): Model;
}

/** ONNX releases that the runtime reads in full. */
const IR_VERSION = 10;
const OPSETS = [
  { domain: "", version: 21, unknown: [] },
  { domain: "com.microsoft", version: 1, unknown: [] },
];

const elementsOf = (shape: readonly number[]): number => shape.reduce((size, dim) => size * dim, 1);
const whole = (value: unknown): boolean => typeof value !== "number" || Number.isSafeInteger(value);

/** @param taken names that values of the graph may not have: those of a graph that it becomes part of */
export const graphBuilder = (graphName: string, taken: Iterable<string> = []): Builder => {
  const nodes: Node[] = [];
  const initializers: Initializer[] = [];
  const inputs: Port[] = [];
  const outputs: Port[] = [];
  const constants = new Map<string, Value>();
  const values = new Map<string, readonly Dim[]>();
  const names = new Set(taken);

  /** The name itself, or the first free one made from it. */
  const free = (wanted: string): string => {
    let name = wanted;
    for (let i = 1; names.has(name); i++) name = `${wanted}_${i}`;
    names.add(name);
    return name;
  };
  const claim = (name: string): void => {
    if (names.has(name)) throw new Error(`the graph has two values named ${name}`);
    names.add(name);
  };
  const typed = ({ name, dtype, shape }: Value): Typed => {
    const known = values.get(name);
    return known === undefined ? { dtype, shape } : { dtype, shape, values: known };
  };

  const builder: Builder = {
    input(name, dtype, shape) {
      claim(name);
      inputs.push({ name, type: { dtype: dtypes[dtype], shape }, unknown: [] });
      return { name, dtype, shape };
    },
    weight(name, dtype, shape, external) {
      claim(name);
      const length = elementsOf(shape) * dtypeBytes[dtype];
      if (external.length !== undefined && external.length !== length)
        throw new Error(`${name}: ${external.length} bytes of the file for ${dtype} [${shape}], which takes ${length}`);
      initializers.push({ name, dtype: dtypes[dtype], shape, data: { external }, unknown: [] });
      return { name, dtype, shape };
    },
    constant(list, shape) {
      const isFloat = list instanceof Float32Array;
      const dims = shape ?? [list.length];
      if (elementsOf(dims) !== list.length) throw new Error(`a constant of ${list.length} values as [${dims}]`);
      if (!isFloat && !list.every(whole)) throw new Error(`a constant of integers with the values ${list}`);
      const data = isFloat ? list.slice() : BigInt64Array.from(list, BigInt);
      // By its bits, since 0 and −0 are two numbers.
      const key = `${isFloat ? "f" : "i"}[${dims}]${isFloat ? new Int32Array(data.buffer) : list}`;
      const known = constants.get(key);
      if (known !== undefined) return known;
      const value: Value = { name: free("constant"), dtype: isFloat ? "float32" : "int64", shape: dims };
      const raw = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      initializers.push({ name: value.name, dtype: dtypes[value.dtype], shape: dims, data: { raw }, unknown: [] });
      if (!isFloat) values.set(value.name, list);
      constants.set(key, value);
      return value;
    },
    op(operator, operands, attributes = {}, wanted = operator) {
      const name = free(wanted);
      const rule = Object.hasOwn(operators, operator) ? operators[operator] : undefined;
      if (rule === undefined) throw new Error(`${name}: no shape rule for the operator ${operator}`);
      let result: Typed;
      try {
        if (operands.length < rule.inputs.least) throw new Error(`input ${operands.length} is missing`);
        if (operands.length > rule.inputs.most)
          throw new Error(`${operands.length} inputs, it takes ${rule.inputs.most}`);
        for (const [attribute, value] of Object.entries(attributes)) {
          if (![value].flat().every(whole)) throw new Error(`${attribute} is ${value}: a real number is { float }`);
        }
        result = rule.infer(operands.map(typed), attributes);
      } catch (error) {
        throw new Error(`${name} (${operator}): ${messageOf(error)}`);
      }
      if (result.values !== undefined) values.set(name, result.values);
      nodes.push({
        name,
        operator,
        domain: rule.domain,
        inputs: operands.map((operand) => operand.name),
        outputs: [name],
        attributes,
        unknown: [],
      });
      return { name, dtype: result.dtype, shape: result.shape };
    },
    size(name) {
      const known = inputs.find((port) => port.name === name);
      const value: Value = { name, dtype: "int64", shape: [1] };
      if (known !== undefined) return value;
      values.set(name, [name]);
      return builder.input(name, "int64", [1]);
    },
    reshape: (x, shape, name) => builder.op("Reshape", [x, builder.constant(shape)], {}, name),
    output(value, name) {
      const { dtype, shape } = value;
      claim(name);
      nodes.push({
        name,
        operator: "Identity",
        domain: "",
        inputs: [value.name],
        outputs: [name],
        attributes: {},
        unknown: [],
      });
      outputs.push({ name, type: { dtype: dtypes[dtype], shape }, unknown: [] });
    },
    build: () => ({
      irVersion: IR_VERSION,
      opsets: OPSETS,
      graph: { name: graphName, nodes, initializers, inputs, outputs, unknown: [] },
      unknown: [],
    }),
  };
  return builder;
};
