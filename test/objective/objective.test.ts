import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { packs } from "../../src/batch/pack.js";
import { rightBranchOnly, type TokenTree } from "../../src/data/tree.js";
import { languageModel } from "../../src/objective/language.js";
import { lossOf } from "../../src/objective/objective.js";
import { objectives } from "../../src/objective/objectives.js";
import { classification, logSumExp, optionScores, predicted, probabilities } from "../../src/objective/option.js";
import { anyTree, oneTokenTree } from "../batch/trees.js";

const withLabels = fc
  .array(fc.tuple(anyTree, fc.nat(100)), { minLength: 1, maxLength: 8 })
  .map((some) => some.map(([tree, n]): TokenTree => ({ ...tree, label: n % tree.branches.length })));

const vocabulary = 10;

/** A "model": logits that depend on the whole context and the token. */
const logit = (context: readonly number[], token: number): number =>
  5 * Math.sin(context.reduce((hash, id) => (hash * 31 + id + 1) % 9973, 7) * 0.37 + token * 1.7);

const logProbability = (context: readonly number[], token: number): number => {
  const all = Array.from({ length: vocabulary }, (_, id) => Math.exp(logit(context, id)));
  return logit(context, token) - Math.log(all.reduce((a, b) => a + b, 0));
};

/** Row by row, from the definition. */
const scoresByRows = (tree: TokenTree): number[] =>
  tree.branches.map(({ ids, scored }) => {
    const path = [...tree.shared, ...ids];
    return scored.reduce((sum, p) => sum + logProbability(path.slice(0, p), path[p] ?? 0), 0) / scored.length;
  });

const contexts = (some: readonly TokenTree[]) =>
  some.flatMap(({ shared, branches }) =>
    branches.flatMap(({ ids, scored }) => {
      const path = [...shared, ...ids];
      return scored.map((p) => ({ context: path.slice(0, p), token: path[p] ?? 0 }));
    }),
  );

const tokensOutput = (some: readonly TokenTree[]): Float32Array =>
  Float32Array.from(contexts(some), ({ context, token }) => logProbability(context, token));

const expectClose = (found: readonly ArrayLike<number>[], expected: readonly ArrayLike<number>[]): void => {
  expect(found.map(({ length }) => length)).toEqual(expected.map(({ length }) => length));
  const flat = expected.flatMap((numbers) => Array.from(numbers));
  for (const [i, value] of found.flatMap((numbers) => Array.from(numbers)).entries())
    expect(value).toBeCloseTo(flat[i]!, 5);
};

describe("option loss", () => {
  it("is the cross-entropy of the length-normalised log-likelihoods, mean over rows, however packed", () => {
    fc.assert(
      fc.property(withLabels, fc.integer({ min: 1, max: 60 }), (some, budget) => {
        const made = packs(some, { budget, head: "tokens" });
        const outputs = made.map((pack) => tokensOutput(pack.trees));
        const scores = some.map(scoresByRows);
        const found = made.flatMap((pack, i) => [...optionScores(pack, outputs[i]!)]);
        expectClose(found, scores);
        const expected =
          scores.reduce((sum, own, t) => {
            const normaliser = Math.log(own.reduce((total, score) => total + Math.exp(score), 0));
            return sum + normaliser - (own[some[t]?.label ?? 0] ?? 0);
          }, 0) / some.length;
        expect(lossOf(classification, made, outputs)).toBeCloseTo(expected, 5);
      }),
    );
  });

  it("is equal on the columns of logits and on log-probabilities over the vocabulary", () => {
    fc.assert(
      fc.property(fc.array(oneTokenTree, { minLength: 1, maxLength: 8 }), (some) => {
        const slow = packs(some, { budget: 30, head: "tokens" });
        const fast = packs(some, { budget: 30 });
        const columns = fast.map((pack) =>
          Float32Array.from(
            pack.trees.flatMap(({ shared }) => Array.from(pack.columns ?? [], (id) => logit(shared, id))),
          ),
        );
        const tokens = slow.map((pack) => tokensOutput(pack.trees));
        expect(lossOf(classification, fast, columns)).toBeCloseTo(lossOf(classification, slow, tokens), 5);
        fast.forEach((pack, i) => {
          const a = optionScores(pack, columns[i]!).map(probabilities);
          const b = optionScores(slow[i]!, tokens[i]!).map(probabilities);
          expectClose(a, b);
        });
      }),
    );
  });

  it("mean and sum of an option's tokens differ: the score is the mean", () => {
    const tree: TokenTree = {
      shared: [1],
      branches: [
        { ids: [2], scored: [1] },
        { ids: [3, 4, 5], scored: [1, 2, 3] },
      ],
      label: 1,
      line: 1,
      truncated: 0,
    };
    const [pack] = packs([tree]);
    const scores = optionScores(pack!, Float32Array.from([-1.5, -1, -1, -1]))[0]!;
    expect(Array.from(scores)).toEqual([-1.5, -1]);
    expect(predicted(scores)).toBe(1);
  });

  it("a label outside the options is a defect, named by line", () => {
    const tree: TokenTree = { ...fc.sample(oneTokenTree, { numRuns: 1, seed: 1 })[0]!, label: -1, line: 9 };
    const made = packs([tree]);
    expect(() => lossOf(classification, made, [new Float32Array(99)])).toThrow(/line 9/);
    expect(() => lossOf(classification, made, [new Float32Array(1)])).toThrow(/none for scored token/);
    expect(() => lossOf(classification, made, [])).toThrow(/1 packs but 0 outputs/);
  });
});

describe("language-model loss", () => {
  it("is the mean over the batch's scored tokens, not over rows, however packed", () => {
    fc.assert(
      fc.property(withLabels, fc.integer({ min: 1, max: 60 }), (some, budget) => {
        const right = some.map(rightBranchOnly);
        const made = packs(right, { budget, head: languageModel.head });
        const outputs = made.map((pack) => tokensOutput(pack.trees));
        const all = contexts(right).map(({ context, token }) => logProbability(context, token));
        const expected = -all.reduce((a, b) => a + b, 0) / all.length;
        expect(lossOf(languageModel, made, outputs)).toBeCloseTo(expected, 5);
      }),
    );
  });

  it("refuses logits of columns", () => {
    const made = packs(fc.sample(oneTokenTree, { numRuns: 2, seed: 1 }));
    expect(() => lossOf(languageModel, made, [new Float32Array(99)])).toThrow(/log-probabilities/);
  });
});

describe("numbers", () => {
  it("log-sum-exp neither overflows nor loses its limits", () => {
    expect(logSumExp(Float64Array.of(1e4, 1e4))).toBeCloseTo(1e4 + Math.log(2), 9);
    expect(logSumExp(Float64Array.of(-1e4, -1e4))).toBeCloseTo(-1e4 + Math.log(2), 9);
    expect(logSumExp(Float64Array.of(Number.NEGATIVE_INFINITY, 0))).toBe(0);
    expect(logSumExp(Float64Array.of(Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY))).toBe(
      Number.NEGATIVE_INFINITY,
    );
    expect(logSumExp(Float64Array.of(Number.NaN, 0))).toBeNaN();
  });

  it("probabilities add up to one; the first of equal scores is predicted", () => {
    const own = probabilities(Float64Array.of(700, 701, 699));
    expect(own.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 12);
    expect(predicted(Float64Array.of(1, 2, 2))).toBe(1);
  });

  it("sums keep float64: a million small losses do not stall", () => {
    const tree: TokenTree = {
      shared: [0],
      branches: [{ ids: Array(100_000).fill(1), scored: Array.from({ length: 100_000 }, (_, i) => i + 1) }],
      label: 0,
      line: 1,
      truncated: 0,
    };
    const output = new Float32Array(100_000).fill(-0.1);
    output[0] = -1e7;
    const expected = (1e7 + 99_999 * Math.fround(0.1)) / 100_000;
    expect(lossOf(languageModel, packs([tree], { head: "tokens" }), [output])).toBeCloseTo(expected, 9);
  });

  it("the table's names are the objectives' own", () => {
    for (const [name, objective] of Object.entries(objectives)) expect(objective.name).toBe(name);
  });
});
