import fc from "fast-check";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { beforeAll, describe, expect, it } from "vitest";
import { type HeadKind, type Pack, packs } from "../../src/batch/pack.js";
import type { TokenTree } from "../../src/data/tree.js";
import { runOf } from "../../src/engine/feeds.js";
import { graphBuilder } from "../../src/graph/builder.js";
import type { Value } from "../../src/graph/ir.js";
import { encodeModel } from "../../src/graph/onnx.js";
import { type BoundFamily, blocks } from "../../src/model/family.js";
import { headOutput } from "../../src/model/heads.js";
import { optionScores } from "../../src/objective/option.js";
import { bindTiny, type TinyName, tinyConfigs, weightsOf } from "../model/families/tiny.js";
import { anyTree, oneTokenTree } from "./trees.js";

type Scores = (pack: Pack) => Promise<Float32Array>;

const openHead = async (family: BoundFamily, head: HeadKind): Promise<Scores> => {
  const g = graphBuilder("forward");
  const shapes = new Map(family.parameters.map(({ name, shape }) => [name, shape]));
  const values = new Map<string, Value>();
  const weight = (name: string): Value => {
    const value = values.get(name) ?? g.input(name, "float32", shapes.get(name) ?? []);
    values.set(name, value);
    return value;
  };
  const turned = new Set(family.parameters.filter((parameter) => parameter.turned).map(({ name }) => name));
  const rows = (name: string, indices: Value) => g.op("Gather", [weight(name), indices]);
  const project = (name: string, x: Value, bias?: string) =>
    g.op("Gemm", [x, weight(name), ...(bias === undefined ? [] : [weight(bias)])], {
      transB: turned.has(name) ? 0 : 1,
    });
  const linear = (module: string, x: Value) =>
    project(`${module}.weight`, x, shapes.has(`${module}.bias`) ? `${module}.bias` : undefined);
  const parts = { g, weight, rows, project, linear };
  const pieces = family.pieces(parts);
  const hidden = pieces.last(blocks(pieces, pieces.embed(), 0, family.layers));
  g.output(headOutput(parts, head, hidden, family.head), "output");
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

/** Each scored token's log-probability with every branch a pack of its own: one row, plainly causal, nothing packed. */
const rowByRow = async (tokens: Scores, trees: readonly TokenTree[]): Promise<number[]> => {
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

const all = (Object.keys(tinyConfigs) as TinyName[]).map((name) => ({ name, family: bindTiny(name) }));

describe.each(all.filter(({ family }) => family.reads === "next"))("$name on packed rows", ({ family }) => {
  let tokens: Scores;
  let columns: Scores;
  beforeAll(async () => {
    [tokens, columns] = await Promise.all([openHead(family, "tokens"), openHead(family, "columns")]);
  });

  it("gives every scored token the log-probability that separate rows give it", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyTree, { minLength: 1, maxLength: 6 }),
        fc.constantFrom(20, 256),
        async (trees, budget) => {
          const packed: number[] = [];
          for (const pack of packs(trees, { budget, head: "tokens" })) packed.push(...(await tokens(pack)));
          expect(furthest(packed, await rowByRow(tokens, trees))).toBeLessThan(1e-4);
        },
      ),
      { numRuns: 25 },
    );
  });

  it("gives one-token options, by their columns, the differences that separate rows give them", async () => {
    // Where logits are held softly between bounds, differences are still those of the bounded ones.
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
        const separate = (await rowByRow(tokens, trees)).values();
        const expected = trees.flatMap(({ branches }) =>
          centred(branches.map(() => separate.next().value ?? Number.NaN)),
        );
        expect(furthest(scores, expected)).toBeLessThan(1e-4);
      }),
      { numRuns: 25 },
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
    const [a = 0, b = 0] = await rowByRow(tokens, [tree([2, 3, 4]), tree([5, 3, 4])]);
    expect(Math.abs(a - b)).toBeGreaterThan(3e-3);
  });
});

describe.each(all.filter(({ family }) => family.reads === "masked"))("$name on packed rows", ({ family }) => {
  let columns: Scores;
  beforeAll(async () => {
    columns = await openHead(family, "columns");
  });
  const word = fc.integer({ min: 0, max: 9 });
  const maskedTree = fc
    .tuple(
      fc.array(word, { minLength: 1, maxLength: 12 }),
      fc.nat(11),
      fc.uniqueArray(word, { minLength: 2, maxLength: 3 }),
    )
    .map(
      ([shared, at, options]): TokenTree => ({
        ...{ shared, at: at % shared.length, label: 0, line: 1, truncated: 0 },
        branches: options.map((id) => ({ ids: [id], scored: [] })),
      }),
    );
  const scoresOf = async (trees: readonly TokenTree[], budget: number): Promise<number[]> => {
    const scores: number[] = [];
    for (const pack of packs(trees, { budget, head: "columns" }))
      scores.push(...optionScores(pack, await columns(pack)).flatMap((row) => [...row]));
    return scores;
  };

  it("gives every option the logit that separate rows give it, whatever stands beside the row", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(maskedTree, { minLength: 1, maxLength: 6 }), async (trees) => {
        const apart: number[] = [];
        for (const tree of trees) apart.push(...(await scoresOf([tree], 256)));
        expect(furthest(await scoresOf(trees, 20), apart)).toBeLessThan(1e-4);
        expect(furthest(await scoresOf(trees, 256), apart)).toBeLessThan(1e-4);
      }),
      { numRuns: 25 },
    );
  });

  it("sees what comes after the mask", async () => {
    const tree = (last: number): TokenTree => ({
      ...{ shared: [2, 3, 4, last], at: 1, label: 0, line: 1, truncated: 0 },
      branches: [1, 2].map((id) => ({ ids: [id], scored: [] })),
    });
    const [a, b] = [await scoresOf([tree(5)], 64), await scoresOf([tree(6)], 64)];
    expect(furthest(a, b)).toBeGreaterThan(1e-3);
  });
});
