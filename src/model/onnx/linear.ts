import type { Attribute, Graph, Initializer, Node } from "../../graph/ir.js";

/** A linear layer of a graph: a product whose right operand is a matrix of the file. */
export interface Linear {
  readonly node: Node;
  /** The value that it multiplies, float, and the node that reads it. */
  readonly x: string;
  readonly reader: Node;
  /** The product, before a bias that is added by another node. */
  readonly output: string;
  readonly inputs: number;
  readonly outputs: number;
  /** Of x and the output: ONNX's number of the element type. */
  readonly dtype: number;
  /** The matrix as the file has it, where it is one of floats. */
  readonly weight?: { readonly initializer: Initializer; readonly turned: boolean };
  /** The name of the matrix in the file. */
  readonly stored: string;
}

/** What reads and gives each value of a graph. */
export interface Wires {
  readonly initializers: ReadonlyMap<string, Initializer>;
  readonly producer: ReadonlyMap<string, Node>;
  readonly consumers: ReadonlyMap<string, readonly Node[]>;
}

export const wiresOf = (nodes: readonly Node[], { initializers }: Pick<Graph, "initializers">): Wires => {
  const producer = new Map<string, Node>();
  const consumers = new Map<string, Node[]>();
  for (const node of nodes) {
    for (const output of node.outputs) producer.set(output, node);
    for (const input of new Set(node.inputs)) {
      const known = consumers.get(input);
      if (known === undefined) consumers.set(input, [node]);
      else known.push(node);
    }
  }
  return { initializers: new Map(initializers.map((tensor) => [tensor.name, tensor])), producer, consumers };
};

const FLOAT = 1;
export const FLOATS: readonly number[] = [FLOAT, 10, 16];
const number = (value: Attribute | undefined, otherwise: number): number =>
  typeof value === "number" ? value : otherwise;

interface Matrix {
  readonly initializer: Initializer;
  readonly turned: boolean;
  /** Of its values where they are multiplied. */
  readonly dtype: number;
}

/** The initializer behind a value, through nodes that only change its form. */
const matrixOf = (wires: Wires, name: string): Matrix | undefined => {
  const initializer = wires.initializers.get(name);
  // A matrix that multiplies from the right is [inputs, outputs].
  if (initializer !== undefined)
    return initializer.shape.length === 2 ? { initializer, turned: true, dtype: initializer.dtype } : undefined;
  const node = wires.producer.get(name);
  if (node === undefined) return undefined;
  const [first = "", second = ""] = node.inputs;
  const inner = ["Transpose", "Cast", "DequantizeLinear", "Identity"].includes(node.operator)
    ? matrixOf(wires, first)
    : undefined;
  if (inner === undefined) return undefined;
  if (node.operator === "Transpose") {
    const { perm = [1, 0] } = node.attributes;
    return String(perm) === "1,0" ? { ...inner, turned: !inner.turned } : undefined;
  }
  if (node.operator === "Cast") return { ...inner, dtype: number(node.attributes.to, 0) };
  if (node.operator === "Identity") return inner;
  return { ...inner, dtype: wires.initializers.get(second)?.dtype ?? FLOAT };
};

const product = (
  wires: Wires,
  node: Node,
  { x = node.inputs[0] ?? "", reader = node, output = node.outputs[0] ?? "", transB = 0, dtype = 0 },
): Linear | undefined => {
  const matrix = matrixOf(wires, node.inputs[1] ?? "");
  if (matrix === undefined) return undefined;
  const { initializer, turned } = matrix;
  const [rows = 0, columns = 0] = initializer.shape;
  const isTurned = turned !== (transB === 1);
  const [inputs, outputs] = isTurned ? [rows, columns] : [columns, rows];
  const of = dtype === 0 ? matrix.dtype : dtype;
  if (!FLOATS.includes(of)) return undefined;
  return {
    ...{ node, x, reader, output, inputs, outputs, dtype: of, stored: initializer.name },
    ...(FLOATS.includes(initializer.dtype) ? { weight: { initializer, turned: isTurned } } : {}),
  };
};

/** The one node that reads a value. */
const only = ({ consumers }: Wires, value: string): Node | undefined => {
  const [first, ...others] = consumers.get(value) ?? [];
  return others.length === 0 ? first : undefined;
};

/** How an operator that multiplies by a matrix does it: one operator more is one row more. */
const operators: Readonly<Record<string, (node: Node, wires: Wires) => Linear | undefined>> = {
  MatMul: (node, wires) => product(wires, node, {}),
  Gemm: (node, wires) =>
    number(node.attributes.transA, 0) === 0
      ? product(wires, node, { transB: number(node.attributes.transB, 0) })
      : undefined,
  FusedMatMul: (node, wires) =>
    number(node.attributes.transA, 0) === 0
      ? product(wires, node, { transB: number(node.attributes.transB, 0) })
      : undefined,
  /** Blocks of 2 to 8 bits. */
  MatMulNBits(node, wires) {
    const [x = "", stored = "", scales = ""] = node.inputs;
    const [output = ""] = node.outputs;
    const inputs = number(node.attributes.K, 0);
    const outputs = number(node.attributes.N, 0);
    const dtype = wires.initializers.get(scales)?.dtype ?? FLOAT;
    return inputs > 0 && outputs > 0 ? { node, x, reader: node, output, inputs, outputs, dtype, stored } : undefined;
  },
  /** Activations are rounded to 8 bits in one operator. */
  DynamicQuantizeMatMul: (node, wires) => product(wires, node, { dtype: FLOAT }),
  /** DynamicQuantizeLinear → MatMulInteger → Cast → Mul by the scales. */
  MatMulInteger(node, wires) {
    const rounding = wires.producer.get(node.inputs[0] ?? "");
    const cast = only(wires, node.outputs[0] ?? "");
    const scaled = cast?.operator === "Cast" ? only(wires, cast.outputs[0] ?? "") : undefined;
    if (rounding?.operator !== "DynamicQuantizeLinear" || scaled?.operator !== "Mul") return undefined;
    const [x = ""] = rounding.inputs;
    const [output = ""] = scaled.outputs;
    return product(wires, node, { x, reader: rounding, output, dtype: FLOAT });
  },
};

/** Operators that read a matrix as what it is: by rows, as a factor, or in another form. */
export const matrixForms: readonly string[] = [
  "MatMul",
  "Gemm",
  "FusedMatMul",
  "Gather",
  "Transpose",
  "Identity",
  "Cast",
];

/** Operators whose activations are rounded to 8 bits. */
export const ROUNDING: readonly string[] = ["DynamicQuantizeMatMul", "MatMulInteger"];

/** The linear layers among some nodes, in their order. */
export const linearsOf = (nodes: readonly Node[], wires: Wires): readonly Linear[] =>
  nodes.flatMap((node) =>
    Object.hasOwn(operators, node.operator) ? (operators[node.operator]?.(node, wires) ?? []) : [],
  );

/** Nodes that change each element of a row by itself, or with constants. */
const ELEMENTWISE: readonly string[] = ["Add", "Mul", "Div", "Sub", "Tanh", "Cast", "Identity", "Reshape"];

/** The linear layer whose product becomes a value element by element: a head. */
export const headOf = (linears: readonly Linear[], { producer, initializers }: Wires, value: string) => {
  const byOutput = new Map(linears.map((linear) => [linear.output, linear]));
  const reshapes: Node[] = [];
  for (let name = value; ; ) {
    const linear = byOutput.get(name);
    if (linear !== undefined) return { linear, reshapes };
    const node = producer.get(name);
    if (node === undefined || !ELEMENTWISE.includes(node.operator)) return undefined;
    if (node.operator === "Reshape") {
      reshapes.push(node);
      name = node.inputs[0] ?? "";
      continue;
    }
    const moving = node.inputs.filter((input) => {
      const constant = initializers.get(input);
      // A constant that is more than a number or a row of them would not fit fewer rows.
      return constant === undefined || constant.shape.slice(0, -1).some((dim) => dim !== 1);
    });
    if (moving.length !== 1) return undefined;
    name = moving[0] ?? "";
  }
};
