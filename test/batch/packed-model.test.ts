import fc from "fast-check";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { beforeAll, describe, expect, it } from "vitest";
import { type HeadKind, type Pack, packs } from "../../src/batch/pack.js";
import type { TokenTree } from "../../src/data/tree.js";
import { runOf } from "../../src/engine/feeds.js";
import { graphBuilder } from "../../src/graph/builder.js";
import type { Value } from "../../src/graph/ir.js";
import { encodeModel } from "../../src/graph/onnx.js";
import { llama } from "../../src/model/families/llama.js";
import { blocks } from "../../src/model/family.js";
import { headOutput } from "../../src/model/heads.js";
import { optionScores } from "../../src/objective/option.js";
import { anyTree, oneTokenTree } from "./trees.js";

const config = {
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 10,
  rms_norm_eps: 1e-5,
  max_position_embeddings: 64,
  tie_word_embeddings: true,
};
const family = llama.bind(config, () => false, "config.json");

/** Weights with some spread, the same each time. */
const weightsOf = (name: string, shape: readonly number[]): Float32Array => {
  const seed = [...name].reduce((hash, letter) => (hash * 31 + letter.charCodeAt(0)) % 65_521, 1);
  const offset = name.includes("norm") ? 1 : 0;
  return Float32Array.from(
    { length: shape.reduce((a, b) => a * b, 1) },
    (_, i) => offset + 0.3 * Math.sin(seed + 12.9898 * i * i + i),
  );
};

const openHead = async (head: HeadKind): Promise<(pack: Pack) => Promise<Float32Array>> => {
  const g = graphBuilder("forward");
  const shapes = new Map(family.parameters.map(({ name, shape }) => [name, shape]));
  const values = new Map<string, Value>();
  const weight = (name: string): Value => {
    const value = values.get(name) ?? g.input(name, "float32", shapes.get(name) ?? []);
    values.set(name, value);
    return value;
  };
  const linear = (module: string, x: Value) => g.op("Gemm", [x, weight(`${module}.weight`)], { transB: 1 }, module);
  const rows = (name: string, indices: Value) => g.op("Gather", [weight(name), indices]);
  const project = (name: string, x: Value) => g.op("Gemm", [x, weight(name)], { transB: 1 });
  const parts = { g, weight, rows, project, linear };
  const pieces = family.pieces(parts);
  const hidden = pieces.last(blocks(pieces, pieces.embed(), 0, family.layers));
  g.output(headOutput(parts, head, hidden, family.headWeight), "output");
  const session = await InferenceSession.create(encodeModel(g.build()), { intraOpNumThreads: 1 });
  const weights = [...values.keys()].map((name) => {
    const shape = shapes.get(name) ?? [];
    return [name, new Tensor("float32", weightsOf(name, shape), shape)] as const;
  });
  return async (pack) => {
    const rows = Object.entries(runOf(family, pack).feeds).map(([name, { data, dims }]) => {
      const tensor =
        data instanceof Float32Array
          ? new Tensor("float32", data, dims)
          : new Tensor("int32", data as Int32Array, dims);
      return [name, tensor] as const;
    });
    const { output } = await session.run(Object.fromEntries([...weights, ...rows]));
    return output?.data as Float32Array;
  };
};

let tokens: (pack: Pack) => Promise<Float32Array>;
let columns: (pack: Pack) => Promise<Float32Array>;
beforeAll(async () => {
  [tokens, columns] = await Promise.all([openHead("tokens"), openHead("columns")]);
});

/** Each scored token's log-probability with every branch a pack of its own: one row, plainly causal, nothing packed. */
const rowByRow = async (trees: readonly TokenTree[]): Promise<number[]> => {
  const found: number[] = [];
  for (const tree of trees) {
    for (const branch of tree.branches) {
      const row: TokenTree = {
        ...tree,
        shared: [...tree.shared, ...branch.ids],
        branches: [{ ids: [], scored: branch.scored }],
      };
      for (const pack of packs([row], { head: "tokens" })) found.push(...(await tokens(pack)));
    }
  }
  return found;
};

const furthest = (a: readonly number[], b: readonly number[]): number => {
  expect(a.length).toBe(b.length);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - (b[i] ?? Number.NaN))), 0);
};

describe("a model on packed rows", () => {
  it("gives every scored token the log-probability that separate rows give it", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyTree, { minLength: 1, maxLength: 6 }),
        fc.constantFrom(20, 256),
        async (trees, budget) => {
          const packed: number[] = [];
          for (const pack of packs(trees, { budget, head: "tokens" })) packed.push(...(await tokens(pack)));
          expect(furthest(packed, await rowByRow(trees))).toBeLessThan(1e-4);
        },
      ),
      { numRuns: 40 },
    );
  });

  it("gives one-token options, by their columns, the differences that separate rows give them", async () => {
    const centred = (scores: ArrayLike<number>): number[] => {
      const values = Array.from(scores);
      const mean = values.reduce((a, b) => a + b, 0) / values.length;
      return values.map((value) => value - mean);
    };
    await fc.assert(
      fc.asyncProperty(fc.array(oneTokenTree, { minLength: 1, maxLength: 6 }), async (trees) => {
        const scores: number[] = [];
        for (const pack of packs(trees, { budget: 30 })) {
          scores.push(...optionScores(pack, await columns(pack)).flatMap(centred));
        }
        const separate = (await rowByRow(trees)).values();
        const expected = trees.flatMap(({ branches }) =>
          centred(branches.map(() => separate.next().value ?? Number.NaN)),
        );
        expect(furthest(scores, expected)).toBeLessThan(1e-4);
      }),
      { numRuns: 40 },
    );
  });

  it("does depend on the context (so that the above proves something)", async () => {
    const tree = (shared: number[]): TokenTree => ({
      shared,
      branches: [{ ids: [1], scored: [shared.length] }],
      label: 0,
      line: 1,
      truncated: 0,
    });
    const [a = 0, b = 0] = await rowByRow([tree([2, 3, 4]), tree([5, 3, 4])]);
    expect(Math.abs(a - b)).toBeGreaterThan(1e-2);
  });
});
