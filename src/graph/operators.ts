import { dimOf, isOne, productOf, quotient, sumOf } from "./dims.js";
import { type Attribute, type Dim, type Dtype, dtypes } from "./ir.js";

/** What is known of an input while a graph is built. */
export interface Typed {
  readonly dtype: Dtype;
  readonly shape: readonly Dim[];
  /** The values of a small tensor of integers, which shapes are computed from: constants, and sizes by their names. */
  readonly values?: readonly Dim[];
}

export type Attributes = Readonly<Record<string, Attribute>>;

/** An operator's shape rule. It throws an Error that says what is wrong; the builder adds the node's name. */
interface Operator {
  readonly domain: string;
  /** How many inputs it takes. */
  readonly inputs: { readonly least: number; readonly most: number };
  infer(inputs: readonly Typed[], attributes: Attributes): Typed;
}

const some = (least: number, most = least) => ({ least, most });
const any = some(1, Number.POSITIVE_INFINITY);

const show = (shape: readonly Dim[]): string => `[${shape.join(", ")}]`;

const need = (inputs: readonly Typed[], index: number): Typed => {
  const input = inputs[index];
  if (input === undefined) throw new Error(`input ${index} is missing`);
  return input;
};

const number = (attributes: Attributes, name: string, otherwise: number): number => {
  const value = attributes[name];
  if (value !== undefined && typeof value !== "number") throw new Error(`${name} must be a whole number`);
  return value ?? otherwise;
};
const numbers = (attributes: Attributes, name: string): readonly number[] | undefined => {
  const value = attributes[name];
  if (value !== undefined && !Array.isArray(value)) throw new Error(`${name} must be a list of whole numbers`);
  return value as readonly number[] | undefined;
};

const floats: readonly Dtype[] = ["float32", "float16", "bfloat16"];
const indices: readonly Dtype[] = ["int32", "int64"];
const oneOf = (dtypes: readonly Dtype[], { dtype }: Typed): void => {
  if (!dtypes.includes(dtype)) throw new Error(`${dtype} where ${dtypes.join(" or ")} is needed`);
};

const axisOf = (axis: number, rank: number): number => {
  const at = axis < 0 ? axis + rank : axis;
  if (!(at >= 0 && at < rank)) throw new Error(`axis ${axis} of a tensor of rank ${rank}`);
  return at;
};

const sameType = (inputs: readonly Typed[]): Dtype => {
  const { dtype } = need(inputs, 0);
  const other = inputs.find((input) => input.dtype !== dtype);
  if (other !== undefined) throw new Error(`${dtype} and ${other.dtype} do not mix`);
  return dtype;
};

/** ONNX's multidirectional broadcasting of two shapes. */
const broadcast = (a: readonly Dim[], b: readonly Dim[]): readonly Dim[] => {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[i - rank + a.length] ?? 1;
    const y = b[i - rank + b.length] ?? 1;
    if (x === y || y === 1) return x;
    if (x === 1) return y;
    throw new Error(`${show(a)} and ${show(b)} do not broadcast`);
  });
};

const equal = (a: Dim | undefined, b: Dim | undefined, what: string): void => {
  if (a === undefined || a !== b) throw new Error(`${what}: ${a} and ${b} differ`);
};

const elementwise: Operator = {
  domain: "",
  inputs: some(2),
  infer: (inputs) => ({ dtype: sameType(inputs), shape: broadcast(need(inputs, 0).shape, need(inputs, 1).shape) }),
};
const unary: Operator = {
  domain: "",
  inputs: some(1),
  infer: (inputs) => ({ dtype: need(inputs, 0).dtype, shape: need(inputs, 0).shape }),
};
/** One of floating-point numbers. */
const smooth: Operator = {
  ...unary,
  infer(inputs, attributes) {
    oneOf(floats, need(inputs, 0));
    return unary.infer(inputs, attributes);
  },
};

/** Two tensors of one type to yes or no. */
const comparison: Operator = {
  ...elementwise,
  infer: (inputs, attributes) => ({ ...elementwise.infer(inputs, attributes), dtype: "bool" }),
};

const norm = (inputs: Operator["inputs"]): Operator => ({
  domain: "",
  inputs,
  infer(operands, attributes) {
    const { shape } = need(operands, 0);
    const { epsilon } = attributes;
    if (epsilon !== undefined && !(typeof epsilon === "object" && "float" in epsilon))
      throw new Error("epsilon must be { float }");
    const dtype = sameType(operands);
    oneOf(floats, need(operands, 0));
    for (const scale of operands.slice(1)) equal(scale.shape.at(-1), shape.at(-1), "width and scale");
    return { dtype, shape };
  },
});

const reduced: Operator["infer"] = (inputs, attributes) => {
  const { dtype, shape } = need(inputs, 0);
  const { values = [] } = need(inputs, 1);
  if (values.length === 0) throw new Error("the axes are not a constant of one or more");
  const axes = values.map((axis) => axisOf(Number(axis), shape.length));
  const keep = number(attributes, "keepdims", 1) === 1;
  return { dtype, shape: shape.flatMap((dim, i) => (axes.includes(i) ? (keep ? [1] : []) : [dim])) };
};

const product: (inputs: readonly Typed[]) => Typed = (inputs) => {
  const [a, b] = [need(inputs, 0).shape, need(inputs, 1).shape];
  if (a.length < 2 || b.length < 2) throw new Error(`MatMul of ${show(a)} and ${show(b)}`);
  equal(a.at(-1), b.at(-2), `inner sizes of ${show(a)} and ${show(b)}`);
  return {
    dtype: sameType(inputs),
    shape: [...broadcast(a.slice(0, -2), b.slice(0, -2)), a.at(-2) ?? 0, b.at(-1) ?? 0],
  };
};

/** Every operator the builder knows: one more is one more row. */
export const operators: Readonly<Record<string, Operator>> = {
  Add: elementwise,
  Sub: elementwise,
  Mul: elementwise,
  Div: elementwise,
  Max: elementwise,
  Neg: unary,
  Sqrt: smooth,
  Sigmoid: smooth,
  Tanh: smooth,
  Erf: smooth,
  Relu: smooth,
  Identity: unary,
  LogSoftmax: smooth,
  And: elementwise,
  Less: comparison,
  GreaterOrEqual: comparison,
  /** The first where the condition holds, the second elsewhere. */
  Where: {
    domain: "",
    inputs: some(3),
    infer(inputs) {
      const [condition, a, b] = [need(inputs, 0), need(inputs, 1), need(inputs, 2)];
      oneOf(["bool"], condition);
      return { dtype: sameType([a, b]), shape: broadcast(broadcast(condition.shape, a.shape), b.shape) };
    },
  },
  Cast: {
    domain: "",
    inputs: some(1),
    infer(inputs, attributes) {
      const to = number(attributes, "to", 0);
      const found = Object.entries(dtypes).find(([, code]) => code === to);
      if (found === undefined) throw new Error(`no type ${to}`);
      return { dtype: found[0] as Dtype, shape: need(inputs, 0).shape };
    },
  },
  /** Sizes `start` to `end` of a tensor, as numbers. */
  Shape: {
    domain: "",
    inputs: some(1),
    infer(inputs, attributes) {
      const { shape } = need(inputs, 0);
      const values = shape.slice(number(attributes, "start", 0), number(attributes, "end", shape.length));
      return { dtype: "int64", shape: [values.length], values };
    },
  },
  /** From the first up to the second (exclusive), by the third, all of one element: how many that is, is not known. */
  Range: {
    domain: "",
    inputs: some(3),
    infer(inputs) {
      const scalar = inputs.find(({ shape }) => shape.length > 0);
      if (scalar !== undefined) throw new Error(`a tensor of ${show(scalar.shape)}, not one number`);
      return { dtype: sameType(inputs), shape: ["range"] };
    },
  },
  Softmax: {
    ...smooth,
    infer(inputs, attributes) {
      const result = smooth.infer(inputs, attributes);
      axisOf(number(attributes, "axis", -1), result.shape.length);
      return result;
    },
  },
  LayerNormalization: norm(some(2, 3)),
  /** RMS norm; the runtime registers it under ONNX's own domain. */
  SimplifiedLayerNormalization: norm(some(2)),
  Gemm: {
    domain: "",
    inputs: some(2, 3),
    infer(inputs, attributes) {
      const dtype = sameType(inputs);
      const [a, b] = [need(inputs, 0).shape, need(inputs, 1).shape];
      if (a.length !== 2 || b.length !== 2) throw new Error(`Gemm takes matrices, not ${show(a)} and ${show(b)}`);
      const left = number(attributes, "transA", 0) === 1 ? [a[1], a[0]] : a;
      const right = number(attributes, "transB", 0) === 1 ? [b[1], b[0]] : b;
      equal(left[1], right[0], `inner sizes of ${show(a)} and ${show(b)}`);
      const shape = [left[0] ?? 0, right[1] ?? 0];
      const [, , bias] = inputs;
      if (bias !== undefined && String(broadcast(shape, bias.shape)) !== String(shape))
        throw new Error(`a bias of ${show(bias.shape)} for ${show(shape)}`);
      return { dtype, shape };
    },
  },
  MatMul: { domain: "", inputs: some(2), infer: product },
  /** alpha · A · B, either of them transposed in its last two dimensions. */
  FusedMatMul: {
    domain: "com.microsoft",
    inputs: some(2),
    infer(inputs, attributes) {
      const { alpha } = attributes;
      if (alpha !== undefined && !(typeof alpha === "object" && "float" in alpha))
        throw new Error("alpha must be { float }");
      const turned = (index: number, flag: string): Typed => {
        const input = need(inputs, index);
        const { shape } = input;
        if (number(attributes, flag, 0) !== 1) return input;
        return { ...input, shape: [...shape.slice(0, -2), ...shape.slice(-2).reverse()] };
      };
      return product([turned(0, "transA"), turned(1, "transB")]);
    },
  },
  Gather: {
    domain: "",
    inputs: some(2),
    infer(inputs, attributes) {
      const [{ dtype, shape }, chosen] = [need(inputs, 0), need(inputs, 1)];
      oneOf(indices, chosen);
      const axis = axisOf(number(attributes, "axis", 0), shape.length);
      return { dtype, shape: [...shape.slice(0, axis), ...chosen.shape, ...shape.slice(axis + 1)] };
    },
  },
  GatherElements: {
    domain: "",
    inputs: some(2),
    infer(inputs, attributes) {
      const [{ dtype, shape }, chosen] = [need(inputs, 0), need(inputs, 1)];
      oneOf(indices, chosen);
      const axis = axisOf(number(attributes, "axis", 0), shape.length);
      const tooLarge = (dim: Dim | undefined, i: number): boolean => {
        const size = chosen.shape[i];
        return i !== axis && typeof dim === "number" && typeof size === "number" && size > dim;
      };
      if (shape.length !== chosen.shape.length || shape.some(tooLarge))
        throw new Error(`indices ${show(chosen.shape)} into ${show(shape)}`);
      return { dtype, shape: chosen.shape };
    },
  },
  ReduceLogSumExp: {
    domain: "",
    inputs: some(2),
    infer: (inputs, attributes) => reduced(inputs, attributes),
  },
  Reshape: {
    domain: "",
    inputs: some(2),
    infer(inputs) {
      const { dtype, shape } = need(inputs, 0);
      const { values: asked } = need(inputs, 1);
      if (asked === undefined) throw new Error("the new shape is not a constant");
      const open = asked.indexOf(-1);
      // 0 means "as before".
      const wanted = asked.map((value, i) => (value === 0 ? shape[i] : value));
      const known = wanted.filter((_, i) => i !== open);
      if (!known.every((dim): dim is Dim => typeof dim === "string" || (dim ?? -1) >= 0))
        throw new Error(`no shape: ${show(asked)}`);
      const rest = quotient(productOf(shape), productOf(known));
      if (open < 0) {
        if (rest === undefined || !isOne(rest))
          throw new Error(`${show(shape)} does not have the elements of ${show(asked)}`);
        return { dtype, shape: known };
      }
      if (rest === undefined) throw new Error(`${show(shape)} does not divide into ${show(asked)}`);
      return { dtype, shape: wanted.map((value, i) => (i === open ? dimOf(rest) : (value ?? 0))) };
    },
  },
  /** One range of one axis (or of the last, where none is given): starts, ends and axes are constants of one element. */
  Slice: {
    domain: "",
    inputs: some(4),
    infer(inputs) {
      const { dtype, shape } = need(inputs, 0);
      const [start, end, axis] = [1, 2, 3].map((index) => {
        const [value, ...others] = need(inputs, index).values ?? [];
        if (typeof value !== "number" || others.length > 0) throw new Error("starts, ends and axes of one number each");
        return value;
      });
      const at = axisOf(axis ?? 0, shape.length);
      const length = shape[at];
      const [from = 0, to = 0] = [start, end];
      if (from < 0 || to < from || (typeof length === "number" && to > length))
        throw new Error(`[${from}, ${to}) of axis ${at} of ${show(shape)}`);
      return { dtype, shape: shape.map((dim, i) => (i === at ? to - from : dim)) };
    },
  },
  Transpose: {
    domain: "",
    inputs: some(1),
    infer(inputs, attributes) {
      const { dtype, shape } = need(inputs, 0);
      const order = numbers(attributes, "perm") ?? shape.map((_, i) => shape.length - 1 - i);
      if (String([...order].sort((a, b) => a - b)) !== String(shape.map((_, i) => i)))
        throw new Error(`perm [${order}] for ${show(shape)}`);
      return { dtype, shape: order.map((axis) => shape[axis] ?? 0) };
    },
  },
  Concat: {
    domain: "",
    inputs: any,
    infer(inputs, attributes) {
      const { shape } = need(inputs, 0);
      const axis = axisOf(number(attributes, "axis", 0), shape.length);
      for (const input of inputs) {
        equal(input.shape.length, shape.length, `ranks of ${show(input.shape)} and ${show(shape)}`);
        shape.forEach((dim, i) => {
          if (i !== axis) equal(input.shape[i], dim, `size ${i} of ${show(input.shape)} and ${show(shape)}`);
        });
      }
      const joined = sumOf(inputs.map((input) => input.shape[axis] ?? 0));
      const values = inputs.every((input) => input.values !== undefined && shape.length === 1)
        ? { values: inputs.flatMap((input) => input.values ?? []) }
        : {};
      return { dtype: sameType(inputs), shape: shape.map((dim, i) => (i === axis ? joined : dim)), ...values };
    },
  },
  ReduceMax: { domain: "", inputs: some(2), infer: reduced },
  ReduceSum: { domain: "", inputs: some(2), infer: reduced },
  /** x [T, K] times the transpose of a matrix [N, K] in blocks: uint8 [N, K/block, 4·bits], scales [N, K/block], zero points. */
  MatMulNBits: {
    domain: "com.microsoft",
    inputs: some(3, 4),
    infer(inputs, attributes) {
      const [x, blocks, scales] = [need(inputs, 0), need(inputs, 1), need(inputs, 2)];
      const [k, n, bits, size] = ["K", "N", "bits", "block_size"].map((name) => number(attributes, name, 0));
      oneOf(["float32"], x);
      oneOf(["uint8"], blocks);
      equal(x.shape.at(-1), k, "width and K");
      const count = (k ?? 0) / (size ?? 1);
      const expected = [n, count, ((bits ?? 0) * (size ?? 0)) / 8];
      if (String(blocks.shape) !== String(expected)) throw new Error(`blocks ${show(blocks.shape)}, not [${expected}]`);
      if (String(scales.shape) !== String([n, count]))
        throw new Error(`scales ${show(scales.shape)}, not [${n},${count}]`);
      return { dtype: "float32", shape: [...x.shape.slice(0, -1), n ?? 0] };
    },
  },
  /** Rows of a matrix in blocks of the last axis: uint8 [V, K·bits/8], indices, scales [V, K/block]. */
  GatherBlockQuantized: {
    domain: "com.microsoft",
    inputs: some(3),
    infer(inputs, attributes) {
      const [blocks, chosen, scales] = [need(inputs, 0), need(inputs, 1), need(inputs, 2)];
      oneOf(["uint8"], blocks);
      oneOf(indices, chosen);
      const [rows, bytes] = blocks.shape;
      const [bits, size] = [number(attributes, "bits", 4), number(attributes, "block_size", 128)];
      if (blocks.shape.length !== 2 || typeof bytes !== "number")
        throw new Error(`a matrix, not ${show(blocks.shape)}`);
      const width = (bytes * 8) / bits;
      if (String(scales.shape) !== String([rows, width / size]))
        throw new Error(`scales ${show(scales.shape)}, not [${rows},${width / size}]`);
      return { dtype: scales.dtype, shape: [...chosen.shape, width] };
    },
  },
  /** x [1, T, heads·size] rotated by halves with one row of cos and sin [T, size/2] a token; positions [1] holds 0. */
  RotaryEmbedding: {
    domain: "com.microsoft",
    inputs: some(4),
    infer(inputs, attributes) {
      const [x, positions, cos, sin] = [need(inputs, 0), need(inputs, 1), need(inputs, 2), need(inputs, 3)];
      const { shape } = x;
      const dtype = sameType([x, cos, sin]);
      oneOf(["int64"], positions);
      const heads = number(attributes, "num_heads", 0);
      const width = shape.at(-1);
      const half = cos.shape.at(-1);
      // Where only the first elements of a head turn, the attribute says how many.
      const turning = number(attributes, "rotary_embedding_dim", 0);
      if (typeof width !== "number" || typeof half !== "number")
        throw new Error(`sizes of ${show(shape)} are not known`);
      if (
        turning === 0
          ? width !== heads * half * 2
          : turning !== half * 2 || width % heads !== 0 || width < heads * turning
      )
        throw new Error(`${heads} heads of ${half}·2 in ${show(shape)}`);
      equal(cos.shape[0], shape.at(-2), "tokens of cos and x");
      equal(sin.shape[0], shape.at(-2), "tokens of sin and x");
      equal(sin.shape.at(-1), half, "sizes of sin and cos");
      return { dtype, shape };
    },
  },
};
