import fc from "fast-check";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { describe, expect, it } from "vitest";
import { ZerothError } from "../../../src/errors.js";
import { graphBuilder } from "../../../src/graph/builder.js";
import type { Value } from "../../../src/graph/ir.js";
import { encodeModel } from "../../../src/graph/onnx.js";
import { bindFamily } from "../../../src/model/families/index.js";
import { llama } from "../../../src/model/families/llama.js";
import { type Head, headOutput } from "../../../src/model/heads.js";
import { type OpenModel, openModel } from "../../../src/model/open.js";
import type { TensorSource } from "../../../src/model/weights.js";
import { config as tinyConfig, shapes as tinyShapes, temporaryFolder, writeTinyModel } from "../tiny.js";
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
  const hidden = family.hidden({ g, weight, linear });
  g.output(headOutput(g, head, hidden, weight(family.headWeight)), "output");
  const session = await InferenceSession.create(encodeModel(g.build()), { intraOpNumThreads: 1 });
  const held = [...weights.keys()].map(
    (name) => [name, new Tensor("float32", model.tensors[name]!, shapes.get(name)!)] as const,
  );
  return async (ids: readonly number[], { take = [...ids.keys()], targets, columns }: Asked = {}) => {
    const length = ids.length;
    const { cos, sin } = family.rotary(Int32Array.from(ids.keys()), new Int32Array(length).fill(length));
    const mask = Float32Array.from({ length: length * length }, (_, i) =>
      i % length <= Math.floor(i / length) ? 0 : Number.NEGATIVE_INFINITY,
    );
    const { output } = await session.run({
      ...Object.fromEntries(held),
      ids: ints(ids),
      cos: new Tensor("float32", cos, [length, cos.length / length]),
      sin: new Tensor("float32", sin, [length, sin.length / length]),
      mask: new Tensor("float32", mask, [length, length]),
      take: ints(take),
      ...(targets === undefined ? {} : { targets: ints(targets) }),
      ...(columns === undefined ? {} : { columns: ints(columns) }),
    });
    return Array.from(output?.data as Float32Array);
  };
};

const largest = (values: readonly number[]): number => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

/** The largest difference as a share of the largest value; NaN if there is one anywhere. */
const distance = (found: readonly number[], expected: readonly number[]): number => {
  expect(found.length).toBe(expected.length);
  return largest(found.map((value, i) => value - expected[i]!)) / largest(expected);
};

/**
 * fp32 against float64, as a share of the largest logit. The longest chain from an id to a logit passes some 300 additions a
 * layer (sums over hidden, inner, head and tokens); each rounds by at most 2⁻²⁴ of the sum, in no common direction, so
 * √600 ≈ 25 such roundings are to be expected at the end. Twice that is allowed.
 */
const BOUND = 50 * 2 ** -24;
/** What ignoring a feature must at least amount to. */
const FAR = 200 * BOUND;

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

describe("a Llama graph", () => {
  it.each(features)("gives the reference's logits: $name", async ({ config, length = 24, ignored }) => {
    const model = modelOf(config);
    const ids = tokensOf(length);
    const logits = ({ config, tensors }: Model): number[] => referenceLogits(config, tensors, ids).flat();
    const expected = logits(model);
    for (const [reading, apply] of Object.entries(ignored)) {
      expect(distance(logits(apply(model)), expected), `the logits with ${reading}`).toBeGreaterThan(FAR);
    }
    const forward = await open(model, "logits");
    const d = distance(await forward(ids), expected);
    console.log(d / 2 ** -24, Object.entries(ignored).map(([n, a]) => `${n} ${(distance(logits(a(model)), expected) / BOUND).toFixed(0)}`).join("; "), largest(expected));
    expect(d).toBeLessThan(BOUND);
  });
});
