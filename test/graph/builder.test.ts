import { InferenceSession, Tensor } from "onnxruntime-node";
import { describe, expect, it } from "vitest";
import { type Builder, graphBuilder } from "../../src/graph/builder.js";
import { type Attribute, type Dim, type Dtype, dtypes, type Value } from "../../src/graph/ir.js";
import { encodeModel } from "../../src/graph/onnx.js";
import { operators } from "../../src/graph/operators.js";

/** An input that is fed, or a constant of integers. */
type Operand = { readonly dtype: Dtype; readonly shape: readonly Dim[] } | readonly number[];
type Attributes = Readonly<Record<string, Attribute>>;

const of =
  (dtype: Dtype) =>
  (...shape: Dim[]): Operand => ({ dtype, shape });
const f = of("float32");
const i32 = of("int32");
const i64 = of("int64");
const u8 = of("uint8");
const bool = of("bool");

const operandOf = (g: Builder, operand: Operand, at: number): Value =>
  "dtype" in operand ? g.input(`x${at}`, operand.dtype, operand.shape) : g.constant(operand);

/** What a case's named sizes are in a run. Two of each, so that a name that stands for one number only is found out. */
const runs: readonly Readonly<Record<string, number>>[] = [
  // All operands of Range are 1: it is empty.
  { T: 3, P: 4, range: 0 },
  { T: 5, P: 6, range: 0 },
];
/** Sizes such as 2*T, T*P, (T+P) as the numbers they are in a run. */
const sizeOf = (dim: Dim, sizes: Readonly<Record<string, number>>): number =>
  String(dim)
    .replaceAll(/[()]/g, "")
    .split("+")
    .map((term) => term.split("*").reduce((product, factor) => product * (sizes[factor] ?? Number(factor)), 1))
    .reduce((a, b) => a + b);

/** Small values: integers are 1 or 2, which index any tensor here and divide without trouble. */
const tensorOf = (dtype: Dtype, dims: readonly number[]): Tensor => {
  const count = dims.reduce((a, b) => a * b, 1);
  const list = Array.from({ length: count }, (_, i) => 1 + (i % 2));
  if (dtype === "float16") return new Tensor(dtype, Uint16Array.from(list), dims);
  if (dtype === "bool")
    return new Tensor(
      dtype,
      Uint8Array.from(list, (x) => x % 2),
      dims,
    );
  if (dtype === "bfloat16") throw new Error("JavaScript has no tensors of bfloat16");
  return new Tensor(dtype, list, dims);
};

const sessionOf = (g: Builder): Promise<InferenceSession> =>
  InferenceSession.create(encodeModel(g.build()), { logSeverityLevel: 4, intraOpNumThreads: 1 });

/** Operator, operands, attributes, and the shape that the builder must infer. The runtime says whether it is the right one. */
const cases: readonly (readonly [string, readonly Operand[], Attributes, readonly Dim[]])[] = [
  ["Add", [f("T", 4), f(4)], {}, ["T", 4]],
  ["Add", [f(2, 1, 4), f("T", 1)], {}, [2, "T", 4]],
  ["Add", [f(), f("T")], {}, ["T"]],
  ["Add", [f(0, 4), f(1, 4)], {}, [0, 4]],
  ["Sub", [i64("T"), [2]], {}, ["T"]],
  ["Mul", [f("T", 1), f(1, "P")], {}, ["T", "P"]],
  ["Div", [i32(1), i32("T")], {}, ["T"]],
  ["Neg", [of("int8")("T", 2)], {}, ["T", 2]],
  ["Sqrt", [f("T")], {}, ["T"]],
  ["Sigmoid", [of("float16")(2, "T")], {}, [2, "T"]],
  ["Tanh", [f()], {}, []],
  ["Erf", [f("T", 2)], {}, ["T", 2]],
  ["Relu", [f("T", 2)], {}, ["T", 2]],
  ["Slice", [f("T", 6), [2], [5], [1]], {}, ["T", 3]],
  ["Slice", [f("T", 6), [0], [6], [-1]], {}, ["T", 6]],
  ["Slice", [f("T", 6), [1], [2], [0]], {}, [1, 6]],
  ...Object.keys(dtypes)
    .filter((dtype): dtype is Dtype => dtype !== "bfloat16")
    .map((dtype) => ["Identity", [of(dtype)("T", 2)], {}, ["T", 2]] as const),
  ["Softmax", [f("T", 3)], { axis: 0 }, ["T", 3]],
  ["LogSoftmax", [f("T", 3)], { axis: 1 }, ["T", 3]],
  ["And", [bool("T", 1), bool(4)], {}, ["T", 4]],
  ["Less", [f("T", 1), f(4)], {}, ["T", 4]],
  ["GreaterOrEqual", [i64("T"), [2]], {}, ["T"]],
  ["Where", [bool("T", 1), f("T", 4), f()], {}, ["T", 4]],
  ["Cast", [i64("T", 2)], { to: 1 }, ["T", 2]],
  ["Shape", [f("T", 4)], {}, [2]],
  ["Shape", [f("T", 4, 5)], { start: 1, end: 2 }, [1]],
  ["Range", [i64(), i64(), i64()], {}, ["range"]],
  ["LayerNormalization", [f("T", 4), f(4)], { axis: -1, epsilon: { float: 1e-5 } }, ["T", 4]],
  ["LayerNormalization", [f(2, "T", 4), f(4), f(4)], {}, [2, "T", 4]],
  ["SimplifiedLayerNormalization", [f("T", 4), f(4)], { axis: -1, epsilon: { float: 1e-5 } }, ["T", 4]],
  ["Gemm", [f("T", 3), f(3, 5)], {}, ["T", 5]],
  ["Gemm", [f("T", 3), f(5, 3), f(5)], { transB: 1 }, ["T", 5]],
  ["Gemm", [f("T", 3), f("T", 5), f(3, 1)], { transA: 1 }, [3, 5]],
  ["Gemm", [f(3, "T"), f("P", 3), f()], { transA: 1, transB: 1 }, ["T", "P"]],
  ["MatMul", [f("T", 3), f(3, 5)], {}, ["T", 5]],
  ["MatMul", [f(2, 1, "T", 3), f(4, 3, "P")], {}, [2, 4, "T", "P"]],
  ["FusedMatMul", [f("P", "T", 3), f("P", 5, 3)], { transB: 1, alpha: { float: 2 } }, ["P", "T", 5]],
  ["FusedMatMul", [f(3, "T"), f(3, 5)], { transA: 1 }, ["T", 5]],
  ["Gather", [f(7, 4), i32("P")], {}, ["P", 4]],
  ["Gather", [f("T", 4, 2), i64("P", 2)], { axis: 1 }, ["T", "P", 2, 2]],
  ["Gather", [i64("T", 3), i32()], { axis: -1 }, ["T"]],
  ["GatherElements", [f("T", 4), i32("T", 1)], { axis: 1 }, ["T", 1]],
  ["GatherElements", [f("T", 4), i64(2, 4)], {}, [2, 4]],
  ["ReduceLogSumExp", [f("T", 4), [-1]], {}, ["T", 1]],
  ["ReduceLogSumExp", [f("T", 4, "P"), [0, -2]], { keepdims: 0 }, ["P"]],
  ["Reshape", [f("T", 12), [-1, 3, 4]], {}, ["T", 3, 4]],
  ["Reshape", [f("T", 4), [2, -1]], {}, [2, "2*T"]],
  ["Reshape", [f("T", 6, "P"), [-1, 3]], {}, ["2*T*P", 3]],
  ["Reshape", [i32("T", 1), [-1]], {}, ["T"]],
  ["Reshape", [f(2, 6), [4, 3]], {}, [4, 3]],
  ["Reshape", [f(2, 6), [-1]], {}, [12]],
  ["Reshape", [f(1), []], {}, []],
  ["Reshape", [f("T", "P", 6), [0, 0, 2, 1, 3]], {}, ["T", "P", 2, 1, 3]],
  ["Reshape", [f("T", "P", 6), [0, -1, 3]], {}, ["T", "2*P", 3]],
  ["Reshape", [f(0, 3), [3, -1]], {}, [3, 0]],
  ["Transpose", [f("T", 2, 3)], {}, [3, 2, "T"]],
  ["Transpose", [f("T", 2, 3)], { perm: [1, 2, 0] }, [2, 3, "T"]],
  ["Concat", [f("T", 2), f("P", 2)], { axis: 0 }, ["(T+P)", 2]],
  ["Concat", [f("T", 2), f(3, 2), f("T", 2)], { axis: -2 }, ["(T+3+T)", 2]],
  ["Concat", [i64(2, "T"), i64(3, "T")], { axis: 0 }, [5, "T"]],
  ["Max", [f("T", 4), f("T", 1)], {}, ["T", 4]],
  ["ReduceMax", [f("T", 4, "P"), [-1]], {}, ["T", 4, 1]],
  ["ReduceSum", [f("T", 4, 2), [-1]], { keepdims: 0 }, ["T", 4]],
  ["MatMulNBits", [f("T", 64), u8(5, 2, 16), f(5, 2)], { K: 64, N: 5, bits: 4, block_size: 32 }, ["T", 5]],
  ["MatMulNBits", [f("T", 64), u8(5, 2, 16), f(5, 2), u8(5, 1)], { K: 64, N: 5, bits: 4, block_size: 32 }, ["T", 5]],
  ["MatMulNBits", [f(2, "T", 32), u8(3, 1, 32), f(3, 1)], { K: 32, N: 3, bits: 8, block_size: 32 }, [2, "T", 3]],
  [
    "GatherBlockQuantized",
    [u8(7, 64), i32("P"), f(7, 2)],
    { bits: 8, block_size: 32, gather_axis: 0, quantize_axis: 1 },
    ["P", 64],
  ],
  [
    "GatherBlockQuantized",
    [u8(7, 32), i64("P", 2), f(7, 2)],
    { bits: 4, block_size: 32, gather_axis: 0, quantize_axis: 1 },
    ["P", 2, 64],
  ],
  ["RotaryEmbedding", [f(1, "T", 8), [0], f("T", 2), f("T", 2)], { num_heads: 2 }, [1, "T", 8]],
  [
    "RotaryEmbedding",
    [f(1, "T", 16), [0], f("T", 2), f("T", 2)],
    { num_heads: 2, rotary_embedding_dim: 4 },
    [1, "T", 16],
  ],
];

/** Operator, operands, attributes, and what the refusal says after the node's name. */
const refusals: readonly (readonly [string, readonly Operand[], Attributes, string])[] = [
  ["Add", [f(2, 3), f(2)], {}, "[2, 3] and [2] do not broadcast"],
  ["Add", [f("T"), f("P")], {}, "[T] and [P] do not broadcast"],
  ["Sub", [f(2), i64(2)], {}, "float32 and int64 do not mix"],
  ["Mul", [f(2)], {}, "input 1 is missing"],
  ["Div", [f(2, 3), f(3, 2)], {}, "[2, 3] and [3, 2] do not broadcast"],
  ["Max", [f(2), i64(2)], {}, "float32 and int64 do not mix"],
  ["And", [bool(2)], {}, "input 1 is missing"],
  ["Less", [f(2), i64(2)], {}, "float32 and int64 do not mix"],
  ["GreaterOrEqual", [f(2, 3), f(3, 2)], {}, "[2, 3] and [3, 2] do not broadcast"],
  ["Where", [bool(2), f(2), i64(2)], {}, "float32 and int64 do not mix"],
  ["Cast", [f(2)], { to: 99 }, "no type 99"],
  ["Shape", [], {}, "input 0 is missing"],
  ["Range", [i64(), i64(2), i64()], {}, "a tensor of [2], not one number"],
  ...["Neg", "Sqrt", "Sigmoid", "Tanh", "Erf", "Relu", "Identity", "Softmax", "LogSoftmax"].map(
    (operator) => [operator, [], {}, "input 0 is missing"] as const,
  ),
  ["LayerNormalization", [f(2, 4), f(2)], {}, "width and scale: 2 and 4 differ"],
  ["LayerNormalization", [f(2, 4), f(4), f(3)], {}, "width and scale: 3 and 4 differ"],
  ["SimplifiedLayerNormalization", [f("T", 4), f("T")], {}, "width and scale: T and 4 differ"],
  ["Gemm", [f(2, 3), f(5, 3)], {}, "inner sizes of [2, 3] and [5, 3]: 3 and 5 differ"],
  ["Gemm", [f(2, 3), f(3, 5)], { transB: 1 }, "inner sizes of [2, 3] and [3, 5]: 3 and 5 differ"],
  ["Gemm", [f(2, 3), f(3, 5)], { transA: 1 }, "inner sizes of [2, 3] and [3, 5]: 2 and 3 differ"],
  ["Gemm", [f(1, 2, 3), f(3, 5)], {}, "Gemm takes matrices, not [1, 2, 3] and [3, 5]"],
  ["Gemm", [f(1, 3), f(3, 5), f(2, 5)], {}, "a bias of [2, 5] for [1, 5]"],
  ["Gemm", [f(2, 3), f(3, 5), i32(5)], {}, "float32 and int32 do not mix"],
  ["MatMul", [f(2, 3), f(2, 3)], {}, "inner sizes of [2, 3] and [2, 3]: 3 and 2 differ"],
  ["MatMul", [f(2, 4, 3), f(3, 3, 4)], {}, "[2] and [3] do not broadcast"],
  ["MatMul", [f(2, 3), f(3)], {}, "MatMul of [2, 3] and [3]"],
  ["MatMul", [f(2, 3), i32(3, 2)], {}, "float32 and int32 do not mix"],
  ["FusedMatMul", [f(2, 3), f(2, 3)], {}, "inner sizes of [2, 3] and [2, 3]: 3 and 2 differ"],
  ["FusedMatMul", [f(2, 3), f(3, 2)], { alpha: 2 }, "alpha must be { float }"],
  ["Gather", [f(2, 3), i32(1)], { axis: 2 }, "axis 2 of a tensor of rank 2"],
  ["Gather", [f(2, 3), i32(1)], { axis: -3 }, "axis -3 of a tensor of rank 2"],
  ["Gather", [f(), i32(1)], {}, "axis 0 of a tensor of rank 0"],
  ["GatherElements", [f("T", 3), i32("T")], {}, "indices [T] into [T, 3]"],
  ["ReduceLogSumExp", [f(2, 3), [1, 2]], {}, "axis 2 of a tensor of rank 2"],
  ["Reshape", [f(2, 3), [4, 2]], {}, "[2, 3] does not have the elements of [4, 2]"],
  ["Reshape", [f("T", 3), [2, 3]], {}, "[T, 3] does not have the elements of [2, 3]"],
  ["Reshape", [f(2, 3), [-1, 4]], {}, "[2, 3] does not divide into [-1, 4]"],
  ["Reshape", [f(2, 3), i64(2)], {}, "the new shape is not a constant"],
  ["ReduceMax", [f(2, 3), [-3]], {}, "axis -3 of a tensor of rank 2"],
  ["ReduceSum", [f(2, 3), [2]], {}, "axis 2 of a tensor of rank 2"],
  ["MatMulNBits", [f("T", 32), u8(5, 2, 16), f(5, 2)], { K: 64, N: 5, bits: 4, block_size: 32 }, "width and K: 32"],
  ["MatMulNBits", [f("T", 64), u8(5, 2, 32), f(5, 2)], { K: 64, N: 5, bits: 4, block_size: 32 }, "blocks [5, 2, 32]"],
  ["MatMulNBits", [f("T", 64), u8(5, 2, 16), f(5, 4)], { K: 64, N: 5, bits: 4, block_size: 32 }, "scales [5, 4]"],
  ["MatMulNBits", [f("T", 64), f(5, 2, 16), f(5, 2)], { K: 64, N: 5, bits: 4, block_size: 32 }, "float32 where uint8"],
  ["GatherBlockQuantized", [u8(7, 64), f(1), f(7, 2)], { bits: 8, block_size: 32 }, "float32 where int32 or int64"],
  ["GatherBlockQuantized", [u8(7, 64), i32(1), f(7, 4)], { bits: 8, block_size: 32 }, "scales [7, 4], not [7,2]"],
  ["Reshape", [f(6), [-1, -1]], {}, "no shape: [-1, -1]"],
  ["Reshape", [f(6), [-2, -3]], {}, "no shape: [-2, -3]"],
  ["Reshape", [f(0, 3), [3, 0]], {}, "[0, 3] does not have the elements of [3, 0]"],
  ["Reshape", [f(2, 3), [2, 3, 0]], {}, "no shape: [2, 3, 0]"],
  ["Reshape", [f("B", "L", 4), [0, 3, -1]], {}, "[B, L, 4] does not divide into [0, 3, -1]"],
  ["Reshape", [f("B", "L", 4), [0, 0, 3]], {}, "[B, L, 4] does not have the elements of [0, 0, 3]"],
  ["Reshape", [f(2, 3), [6], [1]], {}, "3 inputs, it takes 2"],
  ["ReduceLogSumExp", [f(2, 3)], {}, "input 1 is missing"],
  ["ReduceLogSumExp", [f(2, 3), i64(1)], {}, "the axes are not a constant of one or more"],
  ["Softmax", [f(2, 3)], { axis: 7 }, "axis 7 of a tensor of rank 2"],
  ["Softmax", [f(2, 3)], { axis: { float: 1 } }, "axis must be a whole number"],
  ["Softmax", [f(2, 3)], { axis: 0.5 }, "axis is 0.5: a real number is { float }"],
  ["GatherElements", [f(2, 3), i32(2, 3)], { axis: 9 }, "axis 9 of a tensor of rank 2"],
  ["GatherElements", [f("T", 3), i32("T", 4)], {}, "indices [T, 4] into [T, 3]"],
  ["GatherElements", [f("T", 3), f("T", 3)], {}, "float32 where int32 or int64 is needed"],
  ["Gather", [f(2, 3), f(1)], {}, "float32 where int32 or int64 is needed"],
  ["Neg", [f(2), f(2)], {}, "2 inputs, it takes 1"],
  ["Add", [f(2), f(2), f(2)], {}, "3 inputs, it takes 2"],
  ["Sqrt", [i32(2)], {}, "int32 where float32 or float16 or bfloat16 is needed"],
  ["LayerNormalization", [f(2, 4)], {}, "input 1 is missing"],
  ["LayerNormalization", [f(2, 4), i64(4)], {}, "float32 and int64 do not mix"],
  ["LayerNormalization", [f(2, 4), f(4)], { epsilon: 1 }, "epsilon must be { float }"],
  ["Concat", [f(2, 3), f(2, 3, 4)], { axis: 0 }, "ranks of [2, 3, 4] and [2, 3]: 3 and 2 differ"],
  ["RotaryEmbedding", [f(1, "T", 8), [0], f("T", 2), f("T", 3)], { num_heads: 2 }, "sizes of sin and cos: 3 and 2"],
  ["RotaryEmbedding", [f(1, "T", 8), [0], of("float16")("T", 2), f("T", 2)], { num_heads: 2 }, "float32 and float16"],
  ["RotaryEmbedding", [f(1, "T", 8), f(1), f("T", 2), f("T", 2)], { num_heads: 2 }, "float32 where int64 is needed"],
  ["Slice", [f(2, 6), [2], [7], [1]], {}, "[2, 7) of axis 1 of [2, 6]"],
  ["Slice", [f(2, 6), [3], [2], [1]], {}, "[3, 2) of axis 1"],
  ["Slice", [f(2, 6), [0, 1], [1, 2], [0, 1]], {}, "starts, ends and axes of one number each"],
  ["Slice", [f(2, 6), [0], [1], [2]], {}, "axis 2 of a tensor of rank 2"],
  ["Transpose", [f(2, 3)], { perm: 1 }, "perm must be a list of whole numbers"],
  ["Transpose", [f(2, 3)], { perm: [0, 0] }, "perm [0,0] for [2, 3]"],
  ["Transpose", [f(2, 3)], { perm: [0, 1, 2] }, "perm [0,1,2] for [2, 3]"],
  ["Concat", [f(2, 3), f(2, 4)], { axis: 0 }, "size 1 of [2, 4] and [2, 3]: 4 and 3 differ"],
  ["Concat", [f(2, 3), f(2)], { axis: 0 }, "ranks of [2] and [2, 3]: 1 and 2 differ"],
  ["Concat", [f(2), i64(2)], {}, "float32 and int64 do not mix"],
  ["Concat", [f(2), f(2)], { axis: 1 }, "axis 1 of a tensor of rank 1"],
  ["RotaryEmbedding", [f(1, "T", 8), [0], f("T", 2), f("T", 2)], {}, "0 heads of 2·2 in [1, T, 8]"],
  ["RotaryEmbedding", [f(1, "T", 8), [0], f("T", 3), f("T", 3)], { num_heads: 2 }, "2 heads of 3·2 in [1, T, 8]"],
  [
    "RotaryEmbedding",
    [f(1, "T", 8), [0], f("T", 2), f("T", 2)],
    { num_heads: 2, rotary_embedding_dim: 6 },
    "2 heads of 2·2 in [1, T, 8]",
  ],
  ["RotaryEmbedding", [f(1, "T", 8), [0], f("P", 2), f("T", 2)], { num_heads: 2 }, "tokens of cos and x: P and T"],
  ["RotaryEmbedding", [f(1, "T", 8), [0], f("T", 2), f("P", 2)], { num_heads: 2 }, "tokens of sin and x: P and T"],
];

const shown = (operands: readonly Operand[]): string =>
  operands.map((operand) => ("dtype" in operand ? `${operand.dtype}[${operand.shape}]` : `(${operand})`)).join(" ");
const titled = <T>(rows: readonly (readonly [string, readonly Operand[], Attributes, T])[]) =>
  rows.map((row) => [`${row[0]} ${shown(row[1])} ${JSON.stringify(row[2])}`, ...row] as const);

describe("an operator's rule", () => {
  it("has a case and a refusal below, each of them", () => {
    const all = Object.keys(operators).sort();
    for (const table of [cases, refusals]) expect([...new Set(table.map(([name]) => name))].sort()).toEqual(all);
  });

  it.each(titled(cases))("gives what the runtime returns: %s", async (_, operator, operands, attributes, shape) => {
    const g = graphBuilder("case");
    const inputs = operands.map((operand, i) => operandOf(g, operand, i));
    const value = g.op(operator, inputs, attributes);
    expect(value.shape).toEqual(shape);
    g.output(value, "y");
    const session = await sessionOf(g);
    for (const sizes of runs) {
      const feeds: Record<string, Tensor> = {};
      for (const { name, dtype, shape: dims } of inputs.filter(({ name }) => session.inputNames.includes(name)))
        feeds[name] = tensorOf(
          dtype,
          dims.map((dim) => sizeOf(dim, sizes)),
        );
      const { y } = await session.run(feeds);
      expect(y?.type).toBe(value.dtype);
      expect(y?.dims).toEqual(value.shape.map((dim) => sizeOf(dim, sizes)));
    }
    await session.release();
  });

  it.each(titled(refusals))("refuses by the node's name: %s", (_, operator, operands, attributes, message) => {
    const g = graphBuilder("case");
    const inputs = operands.map((operand, i) => operandOf(g, operand, i));
    const make = () => g.op(operator, inputs, attributes, "layers.0.it");
    expect(make).toThrow(`layers.0.it (${operator}): ${message}`);
    expect(g.build().graph.nodes).toEqual([]);
  });

  it("gives twice T+P a name that twice T and P together do not have", () => {
    const g = graphBuilder("case");
    const [t, p] = [g.input("t", "float32", ["T", 2]), g.input("p", "float32", ["P", 2])];
    const both = g.reshape(g.op("Concat", [t, p], { axis: 0 }), [2, -1]);
    const other = g.op("Concat", [g.reshape(t, [-1]), g.input("q", "float32", ["P"])], { axis: 0 });
    expect(both.shape).toEqual([2, "(T+P)"]);
    expect(g.reshape(both, [-1]).shape).toEqual(["2*(T+P)"]);
    expect(other.shape).toEqual(["(2*T+P)"]);
    expect(() => g.op("Add", [g.reshape(both, [-1]), other])).toThrow("do not broadcast");
  });
});

describe("sizes", () => {
  it("split by one that is an input, and put together again, are what they were, to the builder and to the runtime", async () => {
    const g = graphBuilder("case");
    const x = g.input("x", "float32", ["T", 6]);
    const shape = g.op("Concat", [g.size("N"), g.constant([-1, 6])], { axis: 0 });
    const parts = g.op("Reshape", [x, shape]);
    expect(parts.shape).toEqual(["N", "T/N", 6]);
    const whole = g.reshape(g.op("Neg", [parts]), [-1, 6]);
    expect(whole.shape).toEqual(["T", 6]);
    g.output(g.op("Add", [x, whole]), "sum");
    g.output(parts, "parts");
    expect(g.size("N").name).toBe(g.size("N").name);
    const session = await sessionOf(g);
    const { sum, parts: found } = await session.run({
      x: tensorOf("float32", [4, 6]),
      N: new Tensor("int64", BigInt64Array.of(2n), [1]),
    });
    expect(found?.dims).toEqual([2, 2, 6]);
    expect(sum?.dims).toEqual([4, 6]);
  });
});

describe("the builder", () => {
  it("refuses an operator without a rule, by the node's name", () => {
    const g = graphBuilder("g");
    expect(() => g.op("Conv", [], {}, "layers.0.conv")).toThrow("layers.0.conv: no shape rule for the operator Conv");
  });

  it("refuses an input, a weight or an output whose name is taken", () => {
    const g = graphBuilder("g");
    const x = g.input("x", "float32", [2]);
    const external = { location: "w", offset: 0, length: 8 };
    const taken = "the graph has two values named x";
    expect(() => g.input("x", "float32", [2])).toThrow(taken);
    expect(() => g.weight("x", "float32", [2], external)).toThrow(taken);
    expect(() => g.output(x, "x")).toThrow(taken);
  });

  it("gives each node a name of its own", () => {
    const g = graphBuilder("g");
    const x = g.input("Neg", "float32", [2]);
    const names = [g.op("Neg", [x]), g.op("Neg", [x], {}, "Neg_1"), g.op("Neg", [x])].map(({ name }) => name);
    expect(names).toEqual(["Neg_1", "Neg_1_1", "Neg_2"]);
  });

  it("shares equal constants, and no others", () => {
    const g = graphBuilder("g");
    const name = (...args: Parameters<Builder["constant"]>) => g.constant(...args).name;
    const first = name([1, 2]);
    expect(name([1, 2])).toBe(first);
    expect(name([1, 2], [2])).toBe(first);
    const others = [name([1, 2], [1, 2]), name(Float32Array.of(1, 2)), name([12]), name([]), name([1, 2, 1, 2])];
    expect(new Set([first, ...others]).size).toBe(6);
    expect(g.build().graph.initializers).toHaveLength(6);
  });

  it("tells 0 from -0, and keeps a constant as it was given", () => {
    const g = graphBuilder("g");
    const values = Float32Array.of(0);
    expect(g.constant(values).name).not.toBe(g.constant(Float32Array.of(-0)).name);
    values[0] = 7;
    const [first] = g.build().graph.initializers;
    expect(first?.data).toEqual({ raw: new Uint8Array(4) });
  });

  it("refuses a constant whose shape does not have its elements, or whose integers are none", () => {
    const g = graphBuilder("g");
    expect(() => g.constant([1, 2, 3], [2])).toThrow("a constant of 3 values as [2]");
    expect(() => g.constant([1.5])).toThrow("a constant of integers with the values 1.5");
  });

  it("refuses a weight whose place in the file is not as long as its shape", () => {
    const g = graphBuilder("g");
    const weight = () => g.weight("w", "float32", [2, 3], { location: "a", offset: 0, length: 12 });
    expect(weight).toThrow("w: 12 bytes of the file for float32 [2,3], which takes 24");
  });

  it("refuses names that every object has", () => {
    expect(() => graphBuilder("g").op("constructor", [])).toThrow("no shape rule for the operator constructor");
  });

  it("gives constants to the runtime with type, shape and values", async () => {
    const g = graphBuilder("g");
    const floats = Float32Array.of(9, 0.1, -2.5, 1e-40, 9).subarray(1, 4);
    g.output(g.constant(floats, [3, 1]), "floats");
    g.output(g.constant([-(2 ** 53) + 1, 0, 7]), "ints");
    g.output(g.constant([5], []), "scalar");
    const results = await (await sessionOf(g)).run({});
    expect(results.floats).toMatchObject({ type: "float32", dims: [3, 1], data: floats });
    expect(results.ints).toMatchObject({
      type: "int64",
      dims: [3],
      data: BigInt64Array.of(-(2n ** 53n) + 1n, 0n, 7n),
    });
    expect(results.scalar).toMatchObject({ type: "int64", dims: [], data: BigInt64Array.of(5n) });
  });

  it("carries names of sizes through a graph, and declares them to the runtime", async () => {
    const g = graphBuilder("g");
    const x = g.input("x", "float32", ["T", 4]);
    const heads = g.op("Transpose", [g.reshape(x, [-1, 2, 2])], { perm: [1, 0, 2] });
    expect(heads.shape).toEqual([2, "T", 2]);
    const scores = g.op("MatMul", [heads, g.op("Transpose", [heads], { perm: [0, 2, 1] })]);
    expect(scores.shape).toEqual([2, "T", "T"]);
    g.output(scores, "scores");
    const session = await sessionOf(g);
    expect(session.inputMetadata).toMatchObject([{ name: "x", type: "float32", shape: ["T", 4] }]);
    expect(session.outputMetadata).toMatchObject([{ name: "scores", type: "float32", shape: [2, "T", "T"] }]);
    // Rows of ones and twos, two heads of two: each score is 1·1 + 2·2.
    const { scores: result } = await session.run({ x: tensorOf("float32", [3, 4]) });
    expect(result).toMatchObject({ dims: [2, 3, 3], data: new Float32Array(18).fill(5) });
  });

  it("gives an output under two names, and an input straight through", async () => {
    const g = graphBuilder("g");
    const x = g.input("x", "float32", [2]);
    const y = g.op("Neg", [x]);
    g.output(y, "a");
    g.output(y, "b");
    g.output(x, "c");
    const { a, b, c } = await (await sessionOf(g)).run({ x: tensorOf("float32", [2]) });
    expect([a, b, c].map((tensor) => tensor?.data)).toEqual([
      Float32Array.of(-1, -2),
      Float32Array.of(-1, -2),
      Float32Array.of(1, 2),
    ]);
  });

  it("builds for a fixed release of ONNX", () => {
    expect(graphBuilder("forward").build()).toMatchObject({
      irVersion: 10,
      opsets: [
        { domain: "", version: 21 },
        { domain: "com.microsoft", version: 1 },
      ],
      graph: { name: "forward" },
    });
  });
});
