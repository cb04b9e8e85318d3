import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Attribute, Dim, Initializer, Model, Node, Port } from "../../../src/graph/ir.js";
import { encodeModel } from "../../../src/graph/onnx.js";
import { bytes, fields, int, join as joined, text } from "../../../src/graph/protobuf.js";
import { writers } from "../../../src/model/encodings.js";
import { openModel } from "../../../src/model/open.js";
import { readTensorSync } from "../../../src/model/weights.js";

/* The model that ships with Zeroth, as exporters of ONNX would write it. */

const seedling = fileURLToPath(new URL("../../../assets/seedling", import.meta.url));

export interface ExportOptions {
  /** Optimum's way: plain operators and anonymous transposed weights; or that of ONNX Runtime GenAI's builder: fused ones. */
  readonly style?: "optimum" | "genai";
  /**
   * Linear layers: floats; blocks of 4 bits in one operator with 8-bit activations, in two operators, or as the floats that they stand for;
   * activations rounded to 8 bits in plain operators.
   */
  readonly linear?: "float" | "half" | "q4" | "qdq" | "rounded" | "dynamic";
  /** Queries, keys and values in one matrix. */
  readonly packed?: boolean;
  /** Weights in a file beside the graph. */
  readonly external?: boolean;
  /** The layers twice, in the branches of an If: what Optimum made for transformers.js. */
  readonly merged?: boolean;
  readonly layers?: number;
}

const config = {
  hidden: 192,
  inner: 512,
  heads: 6,
  keyHeads: 2,
  size: 32,
  vocabulary: 2048,
  epsilon: 1e-5,
  theta: 1e4,
};
const BLOCK = 32;

const transposed = (values: Float32Array, rows: number, columns: number): Float32Array => {
  const out = new Float32Array(values.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = values[r * columns + c] ?? 0;
  return out;
};

/** The graph, its tensors external in a file of this content where that is asked for. */
const exportSeedling = async ({
  style = "optimum",
  linear = "float",
  packed = false,
  external = false,
  layers = 6,
}: ExportOptions = {}): Promise<{ model: Model; data: Uint8Array }> => {
  const { hidden, inner, heads, keyHeads, size, vocabulary, epsilon, theta } = config;
  const files = await openModel(seedling);
  const weight = (name: string): Float32Array => {
    const source = files.weights.get(name);
    if (source === undefined) throw new Error(`no tensor ${name}`);
    return readTensorSync(source);
  };
  const nodes: Node[] = [];
  const initializers: Initializer[] = [];
  const chunks: Uint8Array[] = [];
  let length = 0;
  const store = (name: string, dtype: number, shape: readonly number[], raw: Uint8Array): string => {
    if (initializers.some((tensor) => tensor.name === name)) return name;
    const isOut = external && raw.length > 1000;
    const data = isOut ? { external: { location: "model.onnx_data", offset: length, length: raw.length } } : { raw };
    initializers.push({ name, dtype, shape, data, unknown: [] });
    if (isOut) {
      chunks.push(raw);
      length += raw.length;
    }
    return name;
  };
  const bytesOf = (values: ArrayBufferView): Uint8Array =>
    new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const floats = (name: string, values: Float32Array, shape: readonly number[]): string =>
    store(name, 1, shape, bytesOf(values));
  const ints = (...values: number[]): string =>
    store(`ints_${values.join("_")}`, 7, [values.length], bytesOf(BigInt64Array.from(values, BigInt)));
  const number = (value: number): string => floats(`number_${value}`, Float32Array.of(value), []);
  let count = 0;
  const op = (
    operator: string,
    inputs: readonly string[],
    { name = `/${operator}_${count}`, outputs = 1, domain = "", ...attributes }: Record<string, unknown> = {},
  ): string[] => {
    count++;
    const made = Array.from({ length: Number(outputs) }, (_, i) => `${String(name)}_output_${i}`);
    nodes.push({
      ...{ name: String(name), operator, domain: String(domain), inputs, outputs: made, unknown: [] },
      attributes: attributes as Readonly<Record<string, Attribute>>,
    });
    return made;
  };
  const one = (...args: Parameters<typeof op>): string => op(...args)[0] ?? "";

  let anonymous = 100;
  const quantised = (w: Float32Array, rows: number, columns: number) => {
    const blocks = new Uint8Array((rows * columns) / 2);
    const scales = new Float32Array((rows * columns) / BLOCK);
    const levels = new Int8Array(rows * columns);
    for (let b = 0; b < scales.length; b++) {
      const part = w.subarray(b * BLOCK, (b + 1) * BLOCK);
      const scale = Math.max(...part.map(Math.abs)) / 7 || 1;
      scales[b] = scale;
      part.forEach((value, i) => {
        const q = Math.max(0, Math.min(15, Math.round(value / scale) + 8));
        const at = (b * BLOCK + i) >> 1;
        levels[b * BLOCK + i] = q - 8;
        blocks[at] = (blocks[at] ?? 0) | (i % 2 === 0 ? q : q << 4);
      });
    }
    return { blocks, scales, levels };
  };
  /** x times the transpose of a weight [rows, columns]. */
  const product = (x: string, w: Float32Array, rows: number, columns: number, name: string, stored: string): string => {
    if (linear === "q4" && name !== "/lm_head/MatMul") {
      const { blocks, scales } = quantised(w, rows, columns);
      const inputs = [
        store(`${stored}_Q4`, 2, [rows, columns / BLOCK, BLOCK / 2], blocks),
        floats(`${stored}_scales`, scales, [scales.length]),
      ];
      return one("MatMulNBits", [x, ...inputs], {
        ...{ name: `${name}_Q4`, domain: "com.microsoft", K: columns, N: rows, bits: 4, block_size: BLOCK },
        accuracy_level: 4,
      });
    }
    if (linear === "rounded" && name !== "/lm_head/MatMul") {
      const { levels, scales } = quantised(w, rows, columns);
      const values = Float32Array.from(levels, (q, i) => q * (scales[Math.floor(i / BLOCK)] ?? 0));
      return one("MatMul", [x, floats(stored, transposed(values, rows, columns), [columns, rows])], { name });
    }
    if (linear === "qdq" && name !== "/lm_head/MatMul") {
      const { levels, scales } = quantised(w, rows, columns);
      const turned = transposed(Float32Array.from(levels), rows, columns);
      const packedLevels = Uint8Array.from({ length: turned.length / 2 }, (_, i) => {
        const [low = 0, high = 0] = turned.subarray(2 * i, 2 * i + 2);
        return (low & 15) | ((high & 15) << 4);
      });
      const matrix = store(`${stored}_DQ_Q4`, 22, [columns, rows], packedLevels);
      const by = floats(`${stored}_scale`, transposed(scales, rows, columns / BLOCK), [columns / BLOCK, rows]);
      return one("MatMul", [x, one("DequantizeLinear", [matrix, by], { axis: 0, block_size: BLOCK })], { name });
    }
    if (linear === "dynamic" && name !== "/lm_head/MatMul") {
      const scale = Math.max(...w.map(Math.abs)) / 127;
      const q = Int8Array.from(transposed(w, rows, columns), (value) => Math.round(value / scale));
      const matrix = store(`${stored}_quantized`, 3, [columns, rows], bytesOf(q));
      const [rounded = "", by = "", zero = ""] = op("DynamicQuantizeLinear", [x], { outputs: 3 });
      const whole = one("MatMulInteger", [rounded, matrix, zero], { name: `${name}_quant` });
      const scales = one("Mul", [by, floats(`${stored}_scale`, Float32Array.of(scale), [])]);
      return one("Mul", [one("Cast", [whole], { to: 1 }), scales]);
    }
    if (linear === "half" && name !== "/lm_head/MatMul") {
      const half = store(stored, 10, [columns, rows], writers.F16(transposed(w, rows, columns)));
      return one("Cast", [one("MatMul", [one("Cast", [x], { to: 10 }), half], { name })], { to: 1 });
    }
    return one("MatMul", [x, floats(stored, transposed(w, rows, columns), [columns, rows])], { name });
  };
  const layer = (x: string, module: string, rows: number, columns: number): string => {
    const path = style === "genai" ? module.replace("self_attn", "attn") : module;
    const node = `/${path.replace(/\.(?!\d)/g, "/")}/MatMul`;
    const stored = style === "genai" ? `${path}.MatMul.weight` : `onnx::MatMul_${anonymous++}`;
    return product(x, weight(`${module}.weight`), rows, columns, node, stored);
  };
  const norm = (x: string, name: string): string => {
    const scale = floats(`${name}.weight`, weight(`${name}.weight`), [hidden]);
    if (style === "genai")
      return one("SimplifiedLayerNormalization", [x, scale], { axis: -1, epsilon: { float: epsilon } });
    const squares = one("ReduceMean", [one("Pow", [x, number(2)])], { axes: [-1], keepdims: 1 });
    const root = one("Sqrt", [one("Add", [squares, number(epsilon)])]);
    return one("Mul", [scale, one("Div", [x, root])]);
  };

  const ids = "input_ids";
  let x = one("Gather", [
    floats("model.embed_tokens.weight", weight("model.embed_tokens.weight"), [vocabulary, hidden]),
    ids,
  ]);
  const frequencies = Float32Array.from({ length: size / 2 }, (_, i) => theta ** ((-2 * i) / size));
  const presents: string[] = [];
  const cacheNames = (i: number) => ["key", "value"].map((part) => `past_key_values.${i}.${part}`);

  // What all blocks share.
  const sums = one("Sub", [one("ReduceSum", ["attention_mask", ints(1)], { keepdims: 0 }), ints(1)]);
  const lengths = one("Cast", [sums], { to: 6 });
  const total = one(
    "Cast",
    [one("Gather", [one("Shape", ["attention_mask"]), store("one", 7, [], bytesOf(BigInt64Array.of(1n)))])],
    { to: 6 },
  );
  const tables = ["cos", "sin"].map((name) =>
    floats(
      `${name}_cache`,
      Float32Array.from({ length: 256 * (size / 2) }, (_, i) =>
        Math[name as "cos" | "sin"](Math.floor(i / (size / 2)) * (frequencies[i % (size / 2)] ?? 0)),
      ),
      [256, size / 2],
    ),
  );
  const turning = () => {
    const places = one("Unsqueeze", [one("Cast", ["position_ids"], { to: 1 }), ints(2)]);
    const half = one("Mul", [places, floats("inv_freq", frequencies, [size / 2])]);
    const angles = one("Unsqueeze", [one("Concat", [half, half], { axis: -1 }), ints(1)]);
    return { cos: one("Cos", [angles]), sin: one("Sin", [angles]) };
  };
  const seen = () => {
    const zero = store("zero", 7, [], bytesOf(BigInt64Array.of(0n)));
    const step = "one";
    const all = one("Gather", [one("Shape", ["attention_mask"]), step]);
    const own = one("Gather", [one("Shape", [ids]), step]);
    const columns = one("Range", [zero, all, step]);
    const rows = one("Unsqueeze", [one("Add", [one("Range", [zero, own, step]), one("Sub", [all, own])]), ints(1)]);
    const real = one("Unsqueeze", [one("Cast", ["attention_mask"], { to: 9 }), ints(1, 2)]);
    const both = one("And", [one("LessOrEqual", [columns, rows]), real]);
    return one("Where", [both, number(0), number(-3e38)]);
  };
  const shared = style === "optimum" ? { ...turning(), mask: seen() } : undefined;

  for (let i = 0; i < layers; i++) {
    const at = `model.layers.${i}`;
    const h = norm(x, `${at}.input_layernorm`);
    const [queries, keys] = [heads * size, keyHeads * size];
    const pasts = cacheNames(i);
    let mixed: string;
    if (shared === undefined) {
      const names = ["q_proj", "k_proj", "v_proj"];
      let qkv: readonly string[];
      if (packed) {
        const all = names.map((name) => weight(`${at}.self_attn.${name}.weight`));
        const joined = Float32Array.from(all.flatMap((part) => [...part]));
        const name = `/model/layers.${i}/attn/qkv_proj/MatMul`;
        qkv = [product(h, joined, queries + 2 * keys, hidden, name, `${at}.attn.qkv_proj.MatMul.weight`), "", ""];
      } else qkv = names.map((name, n) => layer(h, `${at}.self_attn.${name}`, n === 0 ? queries : keys, hidden));
      const [out = "", ...present] = op("GroupQueryAttention", [...qkv, ...pasts, lengths, total, ...tables], {
        ...{ name: `/model/layers.${i}/attn/GroupQueryAttention`, domain: "com.microsoft", outputs: 3 },
        ...{ num_heads: heads, kv_num_heads: keyHeads, do_rotary: 1 },
      });
      presents.push(...present);
      mixed = out;
    } else {
      const { cos, sin, mask } = shared;
      const split = (y: string, n: number): string =>
        one("Transpose", [one("Reshape", [y, ints(0, 0, n, size)])], { perm: [0, 2, 1, 3] });
      const turn = (y: string): string => {
        const part = (from: number, to: number) => one("Slice", [y, ints(from), ints(to), ints(3)]);
        const turned = one("Concat", [one("Neg", [part(size / 2, size)]), part(0, size / 2)], { axis: -1 });
        return one("Add", [one("Mul", [y, cos]), one("Mul", [turned, sin])]);
      };
      const of = (name: string, n: number) => split(layer(h, `${at}.self_attn.${name}`, n * size, hidden), n);
      const query = turn(of("q_proj", heads));
      const [key = "", value = ""] = [turn(of("k_proj", keyHeads)), of("v_proj", keyHeads)].map((y, n) =>
        one("Concat", [pasts[n] ?? "", y], { axis: 2 }),
      );
      presents.push(key, value);
      const group = (y: string) => {
        const five = one("Unsqueeze", [y, ints(2)]);
        const wide = one("Concat", [five, five, five], { axis: 2 });
        return one("Reshape", [wide, ints(0, heads, -1, size)]);
      };
      const scores = one("MatMul", [query, one("Transpose", [group(key)], { perm: [0, 1, 3, 2] })]);
      const scaled = one("Mul", [scores, number(1 / Math.sqrt(size))]);
      const weights = one("Softmax", [one("Add", [scaled, mask])], { axis: -1 });
      const values = one("Transpose", [one("MatMul", [weights, group(value)])], { perm: [0, 2, 1, 3] });
      mixed = one("Reshape", [values, ints(0, 0, -1)]);
    }
    x = one("Add", [x, layer(mixed, `${at}.self_attn.o_proj`, hidden, queries)]);
    const inside = norm(x, `${at}.post_attention_layernorm`);
    const gate = layer(inside, `${at}.mlp.gate_proj`, inner, hidden);
    const gated = one("Mul", [
      one("Mul", [gate, one("Sigmoid", [gate])]),
      layer(inside, `${at}.mlp.up_proj`, inner, hidden),
    ]);
    x = one("Add", [x, layer(gated, `${at}.mlp.down_proj`, hidden, inner)]);
  }
  const last = norm(x, "model.norm");
  const head = product(
    last,
    weight("model.embed_tokens.weight"),
    vocabulary,
    hidden,
    "/lm_head/MatMul",
    "onnx::MatMul_999",
  );
  const output = (from: string, to: string): void => {
    nodes.push({
      name: `/${to}`,
      operator: "Identity",
      domain: "",
      inputs: [from],
      outputs: [to],
      attributes: {},
      unknown: [],
    });
  };
  output(head, "logits");

  const port = (name: string, dtype: number, shape: readonly Dim[]): Port => ({
    name,
    type: { dtype, shape },
    unknown: [],
  });
  const cache = (name: string, along: string) => port(name, 1, ["batch_size", keyHeads, along, size]);
  const pasts = Array.from({ length: layers }, (_, i) => cacheNames(i)).flat();
  for (const [i, from] of presents.entries())
    output(from, `present.${Math.floor(i / 2)}.${i % 2 === 0 ? "key" : "value"}`);
  const ports = [
    port(ids, 7, ["batch_size", "sequence_length"]),
    port("attention_mask", 7, ["batch_size", "total_sequence_length"]),
    ...(style === "genai" ? [] : [port("position_ids", 7, ["batch_size", "sequence_length"])]),
    ...pasts.map((name) => cache(name, "past_sequence_length")),
  ];
  return {
    data: Buffer.concat(chunks),
    model: {
      irVersion: linear === "qdq" ? 10 : 8,
      opsets: [
        { domain: "", version: linear === "qdq" ? 21 : 17, unknown: [] },
        ...(style === "genai" || linear === "q4" ? [{ domain: "com.microsoft", version: 1, unknown: [] }] : []),
      ],
      graph: {
        ...{ name: "main_graph", nodes, initializers, inputs: ports, unknown: [] },
        outputs: [
          port("logits", 1, ["batch_size", "sequence_length", vocabulary]),
          ...pasts.map((name) => cache(name.replace("past_key_values", "present"), "total_sequence_length")),
        ],
      },
      unknown: [],
    },
  };
};

/* ONNX's numbers: ModelProto.graph, AttributeProto's name, g and type, and AttributeProto.GRAPH. */
const [MODEL_GRAPH, NAME, GRAPH, TYPE, IS_GRAPH] = [7, 1, 6, 20, 5];

const graphOf = (model: Model): Uint8Array => {
  const graph = [...fields(encodeModel(model))].find(({ number }) => number === MODEL_GRAPH)?.bytes;
  if (graph === undefined) throw new Error("a model without a graph");
  return graph;
};
/** An encoded graph as an attribute of a node. */
export const graphAttribute = (name: string, graph: Uint8Array): { readonly raw: Uint8Array } => ({
  raw: joined([...text(NAME, name), ...bytes(GRAPH, graph), ...int(TYPE, IS_GRAPH)]),
});

/** As Optimum merges decoders: small integers go with the branches, and where nothing is remembered nothing is put before keys and values. */
export const mergedOf = (model: Model): Model => {
  const { graph } = model;
  const isSmall = ({ dtype, shape }: Initializer): boolean => dtype === 7 && shape.length < 2;
  const branch = (name: string, nodes: readonly Node[]): Uint8Array =>
    graphOf({
      ...model,
      graph: { ...graph, name, nodes, initializers: graph.initializers.filter(isSmall), inputs: [] },
    });
  const forgetful = graph.nodes.map((node): Node => {
    const inputs = node.inputs.filter((input) => !input.startsWith("past_key_values"));
    return inputs.length === node.inputs.length ? node : { ...node, operator: "Identity", inputs, attributes: {} };
  });
  const asked: Port = { name: "use_cache_branch", type: { dtype: 9, shape: [1] }, unknown: [] };
  const choice: Node = {
    ...{ name: "optimum::if", operator: "If", domain: "", inputs: [asked.name], unknown: [] },
    outputs: graph.outputs.map(({ name }) => name),
    attributes: {
      then_branch: graphAttribute("then_branch", branch("with_past", graph.nodes)),
      else_branch: graphAttribute("else_branch", branch("no_past", forgetful)),
    },
  };
  return {
    ...model,
    graph: {
      ...graph,
      nodes: [choice],
      initializers: graph.initializers.filter((tensor) => !isSmall(tensor)),
      inputs: [...graph.inputs, asked],
    },
  };
};

const writeSettings = (folder: string, layers = 6): void => {
  mkdirSync(folder, { recursive: true });
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) cpSync(join(seedling, name), join(folder, name));
  const config: object = JSON.parse(readFileSync(join(seedling, "config.json"), "utf8"));
  writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, num_hidden_layers: layers }));
};

/** The first blocks of the model that ships with Zeroth, as safetensors. */
export const writeNative = (folder: string, layers: number): string => {
  writeSettings(folder, layers);
  cpSync(join(seedling, "model.safetensors"), join(folder, "model.safetensors"));
  return folder;
};

/** Writes a model folder: configuration and tokenizer at its root, the graph in `onnx/` or beside them. */
export const writeExport = async (folder: string, options: ExportOptions = {}, file?: string): Promise<string> => {
  const { style, merged = false } = options;
  const { model, data } = await exportSeedling(options);
  const name = merged ? "decoder_model_merged.onnx" : "model.onnx";
  const graph = join(folder, file ?? (style === "genai" ? name : `onnx/${name}`));
  mkdirSync(dirname(graph), { recursive: true });
  writeSettings(folder, options.layers);
  if (style === "genai") {
    const decoder = { filename: "model.onnx", head_size: 32, num_attention_heads: 6, num_key_value_heads: 2 };
    const genai = { model: { type: "llama", context_length: 256, vocab_size: 2048, decoder } };
    writeFileSync(join(folder, "genai_config.json"), JSON.stringify(genai));
  }
  writeFileSync(graph, encodeModel(merged ? mergedOf(model) : model));
  if (options.external === true) writeFileSync(join(dirname(graph), "model.onnx_data"), data);
  return folder;
};
