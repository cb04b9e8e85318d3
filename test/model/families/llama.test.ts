import fc from "fast-check";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { describe, expect, it } from "vitest";
import { ZerothError } from "../../../src/errors.js";
import { graphBuilder } from "../../../src/graph/builder.js";
import type { Value } from "../../../src/graph/ir.js";
import { encodeModel } from "../../../src/graph/onnx.js";
import { bindFamily } from "../../../src/model/families/index.js";
import { llama } from "../../../src/model/families/llama.js";
import { type BoundFamily, blocks } from "../../../src/model/family.js";
import { type Head, headOutput } from "../../../src/model/heads.js";
import { type OpenModel, openModel } from "../../../src/model/open.js";
import type { TensorSource } from "../../../src/model/weights.js";
import { temporaryFolder, config as tinyConfig, shapes as tinyShapes, writeTinyModel } from "../tiny.js";
import { anglesAt, type LlamaConfig, referenceLogits, shapesOf, type Tensors } from "./reference.js";

/** A configuration and the tensors of its file. */
interface Model {
  readonly config: LlamaConfig;
  readonly tensors: Tensors;
}

const base = {
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 40,
  rms_norm_eps: 1e-5,
  max_position_embeddings: 64,
  tie_word_embeddings: false,
};

/** Uniform in (−1, 1), another sequence for each name (mulberry32). */
const randomOf = (name: string): (() => number) => {
  let state = [...name].reduce((hash, letter) => Math.imul(hash, 31) + letter.charCodeAt(0), 7);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 31 - 1;
  };
};

/** Activations near 1, attention neither flat nor on one token, gains and biases random too: what is forgotten shows. */
const valuesOf = (name: string, shape: readonly number[]): Float32Array => {
  const random = randomOf(name);
  const [, inputs] = shape;
  const spread = inputs === undefined || name.includes("embed") ? 1 : Math.sqrt(3 / inputs);
  const strength = /[qk]_proj\.weight/.test(name) ? 1.5 : 1;
  const middle = name.includes("norm") ? 1 : 0;
  const size = shape.reduce((product, dim) => product * dim, 1);
  return Float32Array.from({ length: size }, () => middle + 0.8 * strength * spread * random());
};

const modelOf = (fields: Partial<LlamaConfig>): Model => {
  const config: LlamaConfig = { ...base, ...fields };
  const tensors = Object.entries(shapesOf(config)).map(([name, shape]) => [name, valuesOf(name, shape)] as const);
  return { config, tensors: Object.fromEntries(tensors) };
};

const bind = ({ config, tensors }: Model) =>
  llama.bind({ ...config }, (name) => Object.hasOwn(tensors, name), "config.json");

/** Cosines and sines of tokens' angles, [T, size/2]. */
const turnsOf = (family: BoundFamily, positions: Int32Array, rowLengths: Int32Array) => {
  const { cos, sin } = family.places({ positions, rowLengths, types: new Int32Array(positions.length) });
  return { cos: cos!.data as Float32Array, sin: sin!.data as Float32Array };
};

const tokensOf = (length: number): number[] => {
  const random = randomOf("ids");
  return Array.from({ length }, () => Math.floor(((random() + 1) / 2) * base.vocab_size));
};

interface Asked {
  readonly take?: readonly number[];
  readonly targets?: readonly number[];
  readonly columns?: readonly number[];
}

const ints = (values: readonly number[]): Tensor => new Tensor("int32", Int32Array.from(values), [values.length]);

/** The family's graph with a head on one row of tokens, plainly causal. */
const open = async (model: Model, head: Head) => {
  const family = bind(model);
  const g = graphBuilder("forward");
  const shapes = new Map(family.parameters.map(({ name, shape }) => [name, shape]));
  const weights = new Map<string, Value>();
  const weight = (name: string): Value => {
    const shape = shapes.get(name);
    if (shape === undefined) throw new Error(`${name} is no parameter of the family`);
    const value = weights.get(name) ?? g.input(name, "float32", shape);
    weights.set(name, value);
    return value;
  };
  const linear = (module: string, x: Value): Value => {
    const bias = `${module}.bias`;
    return g.op("Gemm", [x, weight(`${module}.weight`), ...(shapes.has(bias) ? [weight(bias)] : [])], { transB: 1 });
  };
  const rows = (name: string, indices: Value) => g.op("Gather", [weight(name), indices]);
  const project = (name: string, x: Value) => g.op("Gemm", [x, weight(name)], { transB: 1 });
  const parts = { g, weight, rows, project, linear };
  const pieces = family.pieces(parts);
  const hidden = pieces.last(blocks(pieces, pieces.embed(), 0, family.layers));
  g.output(headOutput(parts, head, hidden, family.head), "output");
  const session = await InferenceSession.create(encodeModel(g.build()), { intraOpNumThreads: 1 });
  const held = [...weights.keys()].map(
    (name) => [name, new Tensor("float32", model.tensors[name]!, shapes.get(name)!)] as const,
  );
  return async (ids: readonly number[], { take = [...ids.keys()], targets, columns }: Asked = {}) => {
    const length = ids.length;
    const { cos, sin } = turnsOf(family, Int32Array.from(ids.keys()), new Int32Array(length).fill(length));
    const mask = Float32Array.from({ length: length * length }, (_, i) =>
      i % length <= Math.floor(i / length) ? 0 : Number.NEGATIVE_INFINITY,
    );
    const { output } = await session.run({
      ...Object.fromEntries(held),
      ids: ints(ids),
      cos: new Tensor("float32", cos, [length, cos.length / length]),
      sin: new Tensor("float32", sin, [length, sin.length / length]),
      slots: new Tensor("int32", Int32Array.from(ids.keys()), [1, length]),
      back: ints([...ids.keys()]),
      mask: new Tensor("float32", mask, [1, 1, 1, length, length]),
      take: ints(take),
      ...(targets === undefined ? {} : { targets: ints(targets) }),
      ...(columns === undefined ? {} : { columns: ints(columns) }),
    });
    return Array.from(output?.data as Float32Array);
  };
};

const largest = (values: readonly number[]): number =>
  values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

/** The largest difference as a share of the largest value; NaN if there is one anywhere. */
const distance = (found: readonly number[], expected: readonly number[]): number => {
  expect(found.length).toBe(expected.length);
  return largest(found.map((value, i) => value - expected[i]!)) / largest(expected);
};

/**
 * fp32 against float64, as a share of the largest logit. The longest way from an id to a logit passes some 300 additions a
 * layer (sums over hidden, inner, head and tokens); each rounds by at most 2⁻²⁴, in no common direction, so about √600 ≈ 25
 * such roundings are to be expected at the end. Twice that is allowed; 13 is the most that was seen.
 */
const BOUND = 50 * 2 ** -24;
/** What ignoring a feature must at least amount to; 20,000 bounds is the least that was seen. */
const FAR = 1000 * BOUND;

type Reading = (model: Model) => Model;

const having =
  (fields: Partial<LlamaConfig>): Reading =>
  ({ config, tensors }) => ({ config: { ...config, ...fields }, tensors });

/** Tensors whose name ends so, their values made anew from the old ones and their place. */
const changing =
  (end: string, change: (old: Float32Array, i: number) => number): Reading =>
  ({ config, tensors }) => ({
    config,
    tensors: Object.fromEntries(
      Object.entries(tensors).map(([name, old]) => [
        name,
        name.endsWith(end) ? old.map((_, i) => change(old, i)) : old,
      ]),
    ),
  });

const without = (end: string): Reading => changing(end, () => 0);

/** Query heads in another order: rows of q_proj. */
const queries = (order: readonly number[], { size, hidden }: { size: number; hidden: number }): Reading =>
  changing("q_proj.weight", (old, i) => {
    const block = size * hidden;
    return old[order[Math.floor(i / block)]! * block + (i % block)]!;
  });

/** The same of what the heads give: columns of o_proj. */
const outputs = (order: readonly number[], { size }: { size: number }): Reading =>
  changing("o_proj.weight", (old, i) => {
    const width = order.length * size;
    const column = i % width;
    return old[i - column + order[Math.floor(column / size)]! * size + (column % size)]!;
  });

const llama3 = {
  rope_type: "llama3",
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 64,
};

/** What a configuration asks for, and how one that ignored it would read the same file. */
const features: readonly {
  name: string;
  config: Partial<LlamaConfig>;
  length?: number;
  ignored: Readonly<Record<string, Reading>>;
}[] = [
  {
    name: "as many key heads as heads",
    config: { num_key_value_heads: undefined },
    ignored: {
      "one wide head": having({ num_attention_heads: 1, num_key_value_heads: 1, head_dim: 32 }),
      "one key head": having({ num_key_value_heads: 1 }),
    },
  },
  {
    name: "grouped queries",
    config: { num_attention_heads: 6, num_key_value_heads: 2, hidden_size: 48 },
    ignored: {
      "one key head": having({ num_key_value_heads: 1 }),
      "key heads dealt out in turn": (model) => {
        const order = [0, 2, 4, 1, 3, 5];
        return outputs(order, { size: 8 })(queries(order, { size: 8, hidden: 48 })(model));
      },
    },
  },
  {
    name: "one key head",
    config: { num_key_value_heads: 1 },
    ignored: { "one query head": queries([0, 0, 0, 0], { size: 8, hidden: 32 }) },
  },
  {
    name: "heads of a size of their own",
    config: { head_dim: 12 },
    ignored: {
      "scores divided by √(hidden/heads)": changing("q_proj.weight", (old, i) => old[i]! * Math.sqrt(12 / 8)),
      "frequencies of hidden/heads": having({ rope_theta: 10_000 ** (12 / 8) }),
    },
  },
  {
    name: "a head of its own",
    config: { tie_word_embeddings: false },
    ignored: { "the embedding as head": having({ tie_word_embeddings: true }) },
  },
  {
    name: "a tied head",
    config: { tie_word_embeddings: true },
    ignored: {
      "another head": ({ config, tensors }) => ({
        config: { ...config, tie_word_embeddings: false },
        tensors: { ...tensors, "lm_head.weight": valuesOf("lm_head.weight", [base.vocab_size, base.hidden_size]) },
      }),
    },
  },
  {
    name: "biases of attention",
    config: { attention_bias: true },
    ignored: Object.fromEntries(["q", "k", "v", "o"].map((name) => [name, without(`${name}_proj.bias`)])),
  },
  {
    name: "biases of the MLP",
    config: { mlp_bias: true },
    ignored: Object.fromEntries(["gate", "up", "down"].map((name) => [name, without(`${name}_proj.bias`)])),
  },
  {
    name: "another base of the rotary frequencies",
    config: { rope_theta: 500 },
    ignored: { "the default base": having({ rope_theta: undefined }) },
  },
  {
    name: "another base, under its new name",
    config: { rope_parameters: { rope_type: "default", rope_theta: 500 } },
    ignored: { "the default base": having({ rope_parameters: undefined }) },
  },
  {
    name: "a large epsilon",
    config: { rms_norm_eps: 0.1 },
    ignored: { "a usual epsilon": having({ rms_norm_eps: 1e-5 }), none: having({ rms_norm_eps: 0 }) },
  },
  {
    name: "linear scaling past the original length",
    config: { rope_scaling: { type: "linear", factor: 4 } },
    length: 80,
    ignored: {
      none: having({ rope_scaling: undefined }),
      "another factor": having({ rope_scaling: { type: "linear", factor: 2 } }),
    },
  },
  {
    name: "Llama 3's scaling past the original length",
    // Heads of 16: the pairs' waves are 6, 20, 63, 199, … tokens long, so some are kept, some blended, some slowed.
    config: { head_dim: 16, rope_scaling: llama3, rope_theta: 10_000 },
    length: 80,
    ignored: {
      none: having({ rope_scaling: undefined }),
      linear: having({ rope_scaling: { rope_type: "linear", factor: 8 } }),
      factor: having({ rope_scaling: { ...llama3, factor: 4 } }),
      low_freq_factor: having({ rope_scaling: { ...llama3, low_freq_factor: 2 } }),
      high_freq_factor: having({ rope_scaling: { ...llama3, high_freq_factor: 8 } }),
      original_max_position_embeddings: having({
        rope_scaling: { ...llama3, original_max_position_embeddings: 128 },
      }),
    },
  },
  {
    name: "Llama 3's scaling, under its new name",
    config: { head_dim: 16, rope_parameters: { ...llama3, rope_theta: 500 } },
    length: 80,
    ignored: {
      none: having({ rope_parameters: { rope_theta: 500 } }),
      "the default base": having({ rope_parameters: llama3 }),
    },
  },
];

const logitsOf = ({ config, tensors }: Model, ids: readonly number[]): number[] =>
  referenceLogits(config, tensors, ids).flat();

describe("a Llama graph", () => {
  it.each(features.map((feature) => [feature.name, feature] as const))(
    "gives the reference's logits: %s",
    async (_, { config, length = 24, ignored }) => {
      const model = modelOf(config);
      const ids = tokensOf(length);
      const expected = logitsOf(model, ids);
      for (const [reading, apply] of Object.entries(ignored)) {
        expect(distance(logitsOf(apply(model), ids), expected), reading).toBeGreaterThan(FAR);
      }
      const forward = await open(model, "logits");
      expect(distance(await forward(ids), expected)).toBeLessThan(BOUND);
    },
  );

  it("forgets no tensor: half of any one in the reference is far from the graph", async () => {
    const model = modelOf({ attention_bias: true, mlp_bias: true });
    const ids = tokensOf(16);
    const found = await (await open(model, "logits"))(ids);
    expect(distance(found, logitsOf(model, ids))).toBeLessThan(BOUND);
    for (const name of Object.keys(model.tensors)) {
      const halved = changing(name, (old, i) => old[i]! / 2)(model);
      expect(distance(found, logitsOf(halved, ids)), name).toBeGreaterThan(FAR);
    }
  });

  it("gives the places that are taken, in their order and as often as they are asked for", async () => {
    const model = modelOf({});
    const ids = tokensOf(12);
    const rows = referenceLogits(model.config, model.tensors, ids);
    const forward = await open(model, "logits");
    const take = [11, 0, 5, 5];
    const expected = take.flatMap((place) => rows[place]!);
    expect(distance(await forward(ids, { take }), expected)).toBeLessThan(BOUND);
    expect(distance(await forward(ids, { take: take.toReversed() }), expected)).toBeGreaterThan(FAR);
  });

  it("takes the embedding as its head where the configuration ties them, though the file has another", async () => {
    const { config, tensors } = modelOf({ tie_word_embeddings: true });
    const head = valuesOf("lm_head.weight", [base.vocab_size, base.hidden_size]);
    const model = { config, tensors: { ...tensors, "lm_head.weight": head } };
    const ids = tokensOf(8);
    const found = await (await open(model, "logits"))(ids);
    expect(distance(found, logitsOf(model, ids))).toBeLessThan(BOUND);
    expect(distance(found, logitsOf(having({ tie_word_embeddings: false })(model), ids))).toBeGreaterThan(FAR);
  });

  it.each<[string, Partial<LlamaConfig>]>([
    ["no scaling", { rope_theta: 10_000 }],
    ["linear", { rope_scaling: { type: "linear", factor: 4 } }],
    ["llama3", { head_dim: 16, rope_scaling: { ...llama3, original_max_position_embeddings: 8192 }, rope_theta: 5e5 }],
  ])("turns by angles that are exact at any position: %s", (_, fields) => {
    const model = modelOf(fields);
    // An angle of 131,071 radians in fp32 would be off by up to 1/256.
    const positions = [0, 1, 131_071, 77, 1, 8192];
    const { cos, sin } = turnsOf(bind(model), Int32Array.from(positions), new Int32Array(6).fill(131_072));
    const exact = positions.map((position) => anglesAt(model.config, position));
    const furthest = (found: Float32Array, expected: readonly number[]): number => {
      expect(found.length).toBe(expected.length);
      return largest(expected.map((value, i) => value - found[i]!));
    };
    // Half a unit in fp32's last place below 1, and the float64 of the two computations.
    expect(
      furthest(
        cos,
        exact.flatMap((angles) => angles.cos),
      ),
    ).toBeLessThan(2 ** -25 + 1e-9);
    expect(
      furthest(
        sin,
        exact.flatMap((angles) => angles.sin),
      ),
    ).toBeLessThan(2 ** -25 + 1e-9);
  });
});

describe("the heads", () => {
  it.each([
    ["usual", 1],
    // exp(300) is not a float: the normaliser must be computed from differences.
    ["very large", 100],
  ])("agree with each other: %s logits", async (_, strength) => {
    const model = changing("lm_head.weight", (old, i) => old[i]! * strength)(modelOf({}));
    const [logits, tokens, columns] = await Promise.all([
      open(model, "logits"),
      open(model, "tokens"),
      open(model, "columns"),
    ]);
    const ids = tokensOf(12);
    const size = base.vocab_size;
    const all = await logits(ids);
    if (strength > 1) expect(largest(all)).toBeGreaterThan(150);
    const rows = ids.map((_, place) => all.slice(place * size, (place + 1) * size));

    const logNormaliser = (row: readonly number[]): number => {
      const most = Math.max(...row);
      return most + Math.log(row.reduce((total, value) => total + Math.exp(value - most), 0));
    };
    for (let shift = 0; shift < size; shift += 13) {
      const targets = ids.map((_, place) => (7 * place + shift) % size);
      const expected = rows.map((row, place) => row[targets[place]!]! - logNormaliser(row));
      expect(distance(await tokens(ids, { targets }), expected)).toBeLessThan(BOUND);
    }

    const wanted = [7, 0, size - 1, 3, 7];
    const take = [11, 2, 2];
    const expected = take.flatMap((place) => wanted.map((column) => rows[place]![column]!));
    expect(distance(await columns(ids, { take, columns: wanted }), expected)).toBeLessThan(BOUND);
  });
});

/** The message of what must be refused: ours, short, beginning with the file at fault. */
const refusal = (act: () => unknown, file = "config.json"): string => {
  let thrown: unknown;
  try {
    act();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(ZerothError);
  const message = thrown instanceof ZerothError ? thrown.message : "";
  expect(message.startsWith(`${file}: `), message).toBe(true);
  expect(message.split("\n").length, message).toBeLessThanOrEqual(4);
  return message;
};

const bindFields = (fields: Readonly<Record<string, unknown>>) =>
  llama.bind({ ...base, ...fields }, () => true, "config.json");

describe("a Llama configuration", () => {
  it.each<[string, Partial<LlamaConfig>]>([
    ["tied", { tie_word_embeddings: true }],
    [
      "with biases, heads of a size of their own, a head of its own",
      { attention_bias: true, mlp_bias: true, head_dim: 6 },
    ],
  ])("asks for the tensors of Hugging Face's file, each by its shape: %s", (_, fields) => {
    const model = modelOf(fields);
    const { parameters, head, contextLength } = bind(model);
    expect(Object.fromEntries(parameters.map(({ name, shape }) => [name, shape]))).toEqual(shapesOf(model.config));
    expect(new Set(parameters.map(({ name }) => name)).size).toBe(parameters.length);
    for (const { name, linear, layer } of parameters) {
      const [, block] = /^model\.layers\.(\d+)\./.exec(name) ?? [];
      expect([name, layer]).toEqual([name, block === undefined ? undefined : Number(block)]);
      // What adapters attach to.
      expect([name, linear ?? false]).toEqual([name, name.endsWith("_proj.weight")]);
    }
    expect(head).toEqual({ weight: fields.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight" });
    expect(contextLength).toBe(64);
  });

  it("may leave out, or give as null, what has a default", () => {
    const { num_key_value_heads, tie_word_embeddings, ...rest } = base;
    const plain = llama.bind({ ...rest, num_key_value_heads: base.num_attention_heads }, () => true, "config.json");
    const nulls = { num_key_value_heads: null, head_dim: null, rope_theta: null, rope_scaling: null };
    for (const fields of [rest, { ...rest, ...nulls, rope_parameters: null, hidden_act: "silu" }]) {
      const bound = llama.bind(fields, () => true, "config.json");
      expect(bound.parameters).toEqual(plain.parameters);
      expect(turnsOf(bound, Int32Array.of(9), Int32Array.of(10))).toEqual(
        turnsOf(plain, Int32Array.of(9), Int32Array.of(10)),
      );
    }
    const { cos } = turnsOf(plain, Int32Array.of(9), Int32Array.of(10));
    expect(cos[1]).toBeCloseTo(Math.cos(9 * 10_000 ** (-1 / 4)), 6);
  });

  it.each([
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "vocab_size",
    "rms_norm_eps",
    "max_position_embeddings",
  ])("without %s is refused, and the field named", (field) => {
    expect(refusal(() => bindFields({ [field]: undefined }))).toContain(`\n${field}: `);
    expect(refusal(() => bindFields({ [field]: null }))).toContain(`\n${field}: `);
  });

  it("names some of the fields where many are missing", () => {
    const message = refusal(() => llama.bind({}, () => true, "config.json"));
    expect(message).toMatch(/hidden_size: .*; intermediate_size: .*; num_hidden_layers: /);
  });

  const impossible: readonly (readonly [field: string, value: unknown])[] = [
    ...["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"].flatMap((field) =>
      [0, -32, 2.5, Number.NaN, Number.POSITIVE_INFINITY, "32", [32]].map((value) => [field, value] as const),
    ),
    ...["num_key_value_heads", "head_dim", "max_position_embeddings"].flatMap((field) =>
      [0, -2, 2.5, Number.NaN].map((value) => [field, value] as const),
    ),
    ...["rms_norm_eps", "rope_theta"].flatMap((field) =>
      [0, -1e-5, Number.NaN, Number.POSITIVE_INFINITY, "1e-5"].map((value) => [field, value] as const),
    ),
    ["tie_word_embeddings", "yes"],
    ["hidden_act", "sin"],
    ["hidden_act", 1],
    ["rope_scaling", "linear"],
    ["rope_scaling", [2]],
    ["rope_parameters", 500],
  ];
  it.each(impossible)("with %s %j is refused, and the field named", (field, value) => {
    expect(refusal(() => bindFields({ [field]: value }))).toContain(`\n${field}: `);
  });

  it.each<[string, unknown]>([
    ["factor", 0],
    ["factor", -8],
    ["factor", Number.NaN],
    ["factor", "8"],
    ["rope_theta", 0],
    ["low_freq_factor", Number.NaN],
    ["high_freq_factor", "4"],
    ["original_max_position_embeddings", Number.NaN],
    ["rope_type", 3],
  ])("with a rotary %s %j is refused, and the field named", (field, value) => {
    for (const place of ["rope_scaling", "rope_parameters"]) {
      const message = refusal(() => bindFields({ [place]: { ...llama3, [field]: value } }));
      expect(message).toContain(`\n${place}.${field}: `);
    }
  });

  it.each(["yarn", "dynamic", "", "constructor", "__proto__"])(
    "with the rotary scaling %j is refused, and the known ones listed",
    (kind) => {
      for (const fields of [
        { rope_scaling: { type: kind, factor: 2 } },
        { rope_scaling: { rope_type: kind, factor: 2 } },
        { rope_parameters: { rope_type: kind, rope_theta: 500 } },
      ]) {
        const message = refusal(() => bindFields(fields));
        expect(message).toContain(`"${kind}"`);
        expect(message).toContain("Known: default, linear, llama3, longrope.");
      }
    },
  );

  it.each([
    ["heads not divisible by key heads", { num_key_value_heads: 3 }, "4 heads over 3 key heads"],
    ["more key heads than heads", { num_key_value_heads: 8 }, "4 heads over 8 key heads"],
    ["a hidden size not divisible by heads", { hidden_size: 34 }, "of size 8.5"],
    ["heads of an odd size, which have no pairs to turn", { head_dim: 7 }, "of size 7"],
  ])("with %s is refused, and the numbers given", (_, fields, words) => {
    expect(refusal(() => bindFields(fields))).toContain(words);
  });

  it("with heads that cannot be is refused, and the fields named", () => {
    const message = refusal(() => bindFields({ num_key_value_heads: 3 }));
    for (const field of ["num_attention_heads", "num_key_value_heads", "head_dim"]) expect(message).toContain(field);
  });

  it.each<[string, Record<string, unknown>, string]>([
    ["linear scaling without its factor", { type: "linear" }, "factor"],
    ["llama3 scaling without any number", { rope_type: "llama3" }, "factor"],
    ["llama3 scaling without its low factor", { ...llama3, low_freq_factor: undefined }, "low_freq_factor"],
    [
      "llama3 scaling of a negative length",
      { ...llama3, original_max_position_embeddings: -5 },
      "original_max_position_embeddings",
    ],
    ["llama3 scaling with low = high", { ...llama3, low_freq_factor: 4, high_freq_factor: 4 }, "high_freq_factor"],
    ["llama3 scaling with low > high", { ...llama3, low_freq_factor: 4, high_freq_factor: 1 }, "high_freq_factor"],
  ])("with %s is refused, and the field named", (_, settings, field) => {
    for (const place of ["rope_scaling", "rope_parameters"]) {
      expect(refusal(() => bindFields({ [place]: settings }))).toContain(`${place}.${field}: `);
    }
  });

  it("with an unknown rotary scaling of many lines is refused in one", () => {
    const message = refusal(() => bindFields({ rope_scaling: { rope_type: "a\nb\nc\nd\ne\nf".repeat(50) } }));
    expect(message.split("\n")).toHaveLength(1);
    expect(message).toContain("rope_scaling.rope_type");
  });

  it.each([
    ["num_hidden_layers", 5e7],
    ["head_dim", 2 ** 42],
  ])("with a %s beyond any memory is refused before anything is allocated", (field, value) => {
    expect(refusal(() => bindFields({ [field]: value }))).toContain(`\n${field}: `);
  });

  it("with any one field exchanged for anything is bound or refused in words", () => {
    const fields = [...Object.keys(base), "head_dim", "rope_theta", "rope_scaling", "rope_parameters", "hidden_act"];
    const value = fc.oneof(
      fc.constantFrom(null, undefined, true, "silu", "", [], {}, Number.NaN, Number.NEGATIVE_INFINITY, -0),
      fc.integer({ min: -5, max: 70 }),
      fc.double(),
      fc.dictionary(fc.constantFrom("rope_type", "type", "factor", "rope_theta"), fc.oneof(fc.double(), fc.integer())),
    );
    let bound = 0;
    fc.assert(
      fc.property(fc.constantFrom(...fields), value, (field, given) => {
        // Sizes that no memory holds are another matter (above).
        fc.pre(!(Number.isInteger(given) && Math.abs(Number(given)) > 70));
        try {
          const { cos } = turnsOf(bindFields({ [field]: given }), Int32Array.of(0, 3), Int32Array.of(4, 4));
          expect(cos.every((one) => Math.abs(one) <= 1)).toBe(true);
          bound++;
        } catch (error) {
          refusal(() => {
            throw error;
          });
        }
      }),
      { numRuns: 500, seed: 6 },
    );
    expect(bound).toBeGreaterThan(20);
  });
});

describe("bindFamily", () => {
  const openTiny = async (): Promise<OpenModel> => {
    const folder = await temporaryFolder();
    await writeTinyModel(folder);
    return openModel(folder);
  };
  const withTensors = (model: OpenModel, change: (weights: Map<string, TensorSource>) => void): OpenModel => {
    const weights = new Map(model.weights);
    change(weights);
    return { ...model, weights };
  };

  it("binds a folder, whatever else its file holds", async () => {
    const model = await openTiny();
    const norm = model.weights.get("model.norm.weight")!;
    const more = withTensors(model, (weights) => weights.set("model.layers.0.self_attn.rotary_emb.inv_freq", norm));
    for (const one of [model, more]) {
      const { parameters, head } = bindFamily(one);
      expect(Object.fromEntries(parameters.map(({ name, shape }) => [name, shape]))).toEqual(tinyShapes);
      expect(head.weight).toBe("model.embed_tokens.weight");
    }
  });

  it.each([["mamba"], ["Llama"], ["constructor"], [["llama"]], [null], [undefined]])(
    "model_type %j is refused, and the known ones listed",
    async (type) => {
      const model = await openTiny();
      const message = refusal(
        () => bindFamily({ ...model, config: { ...tinyConfig, model_type: type } }),
        model.configFile,
      );
      expect(message).toContain(type === undefined ? "model_type is missing" : `model_type ${JSON.stringify(type)} `);
      expect(message).toMatch(/\nKnown: llama, mistral, qwen2, .*bert\.$/);
    },
  );

  it("names the configuration's file and field", async () => {
    const model = await openTiny();
    expect(model.configFile).toMatch(/config\.json$/);
    const config = { ...tinyConfig, hidden_size: 0 };
    expect(refusal(() => bindFamily({ ...model, config }), model.configFile)).toContain("\nhidden_size: ");
  });

  it.each(Object.keys(tinyShapes))("without %s: says which tensor is missing", async (name) => {
    const model = withTensors(await openTiny(), (weights) => weights.delete(name));
    expect(refusal(() => bindFamily(model), model.configFile)).toContain(` ${name},`);
  });

  it("without a whole block that the configuration counts: says which tensor is missing", async () => {
    const model = await openTiny();
    const config = { ...tinyConfig, num_hidden_layers: 2 };
    expect(refusal(() => bindFamily({ ...model, config }), model.configFile)).toContain(" model.layers.1.");
  });

  it.each([
    ["attention_bias", "model.layers.0.self_attn.q_proj.bias"],
    ["mlp_bias", "model.layers.0.mlp.gate_proj.bias"],
  ])("without a bias that %s promises: says which tensor is missing", async (field, name) => {
    const model = await openTiny();
    const config = { ...tinyConfig, [field]: true };
    expect(refusal(() => bindFamily({ ...model, config }), model.configFile)).toContain(` ${name},`);
  });

  it("without a head of its own though the embedding is not tied: says which tensor is missing", async () => {
    const model = await openTiny();
    const { tie_word_embeddings: _, ...silent } = tinyConfig;
    const untied = { ...silent, tie_word_embeddings: false };
    expect(refusal(() => bindFamily({ ...model, config: untied }), model.configFile)).toContain(" lm_head.weight,");
    // Where the configuration is silent, the file decides.
    expect(bindFamily({ ...model, config: silent }).head.weight).toBe("model.embed_tokens.weight");
  });

  it.each<[name: string, shape: readonly number[]]>([
    ["model.embed_tokens.weight", [13, 8]],
    ["model.embed_tokens.weight", [8, 12]],
    ["model.layers.0.self_attn.k_proj.weight", [8, 8]],
    ["model.layers.0.mlp.down_proj.weight", [16, 8]],
    ["model.norm.weight", [8, 1]],
    ["model.norm.weight", []],
    ["model.layers.0.self_attn.q_proj.bias", [4]],
  ])("%s of shape %j: says both shapes, and the file", async (name, shape) => {
    const asked = tinyShapes[name] ?? [8];
    const model = await openTiny();
    const some = model.weights.get("model.norm.weight")!;
    const wrong = withTensors(model, (weights) => weights.set(name, { ...some, name, shape }));
    const message = refusal(() => bindFamily(wrong), some.file);
    expect(message).toContain(`${name} has shape [${shape.join(", ")}]; `);
    expect(message).toContain(`asks for [${asked.join(", ")}].`);
    // The right shape passes.
    bindFamily(withTensors(model, (weights) => weights.set(name, { ...some, name, shape: asked })));
  });

  it("a head of its own is checked as the embedding is", async () => {
    const model = await openTiny();
    const config = { ...tinyConfig, tie_word_embeddings: false };
    const some = model.weights.get("model.embed_tokens.weight")!;
    const untied = (shape: readonly number[]) => ({
      ...withTensors(model, (weights) => weights.set("lm_head.weight", { ...some, name: "lm_head.weight", shape })),
      config,
    });
    expect(bindFamily(untied([12, 8])).head.weight).toBe("lm_head.weight");
    expect(refusal(() => bindFamily(untied([8, 12])), some.file)).toContain("lm_head.weight has shape [8, 12]; ");
  });
});
