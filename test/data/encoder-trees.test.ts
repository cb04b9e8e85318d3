import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formats } from "../../src/data/formats.js";
import { previewTree } from "../../src/data/preview.js";
import type { Row } from "../../src/data/rows.js";
import { cutsOf } from "../../src/data/shorten.js";
import type { MaskedExample, PlainExample } from "../../src/data/task.js";
import { templateTask } from "../../src/data/template.js";
import { treeBuilder } from "../../src/data/tokenize.js";
import { fakeEncoder, fakeTokenizer } from "./fake-tokenizer.js";

/* Rows for models that read a mask, and for classifiers. */

const row = (fields: Record<string, unknown> = {}): Row => ({ fields, file: "x.jsonl", line: 5 });
const masked = (
  before: string,
  after: string,
  options: readonly string[] = ["terrible", "great"],
  label = 1,
): MaskedExample => ({ kind: "masked", row: row(), before, after, options, answers: options, label });
const plain = (texts: PlainExample["texts"], options: readonly string[] = ["no", "yes"], label = 0): PlainExample => ({
  kind: "plain",
  row: row(),
  texts,
  options,
  answers: options,
  label,
});
/** Words after a first one. */
const text = fc.array(fc.constantFrom(" a", " b", " c", " d"), { maxLength: 12 }).map((words) => words.join(""));

describe("a row around a mask", () => {
  const build = (contextLength = 100, tokenizer = fakeEncoder()) => {
    const treeOf = treeBuilder(tokenizer, contextLength, { reads: "masked" });
    return { tokenizer, treeOf, shown: (example: MaskedExample) => tokenizer.decode(treeOf(example).shared) };
  };

  it("is read at its mask, and every option is one token there", () => {
    const { tokenizer, treeOf } = build();
    const tree = treeOf(masked("a film It was", "."));
    expect(tokenizer.decode(tree.shared)).toBe("<cls>a film It was<mask>.<sep>");
    expect(tree.at).toBe(5);
    expect(tree.shared[5]).toBe(tokenizer.mask.id);
    // As the words stand after a space.
    expect(tree.branches.map(({ ids }) => tokenizer.decode(ids))).toEqual([" terrible", " great"]);
    expect(tree.branches.map(({ scored }) => scored)).toEqual([[], []]);
    expect(tree).toMatchObject({ label: 1, line: 5, truncated: 0 });
  });

  it("too long, loses the tokens farthest from the mask on its longer side", () => {
    expect(build(7).shown(masked("one two three four It was", "."))).toBe("<cls> four It was<mask>.<sep>");
    expect(build(7).shown(masked("", ": one two three four"))).toBe("<cls><mask>: one two three<sep>");
    expect(build(7).shown(masked("one two three", " four five six"))).toBe("<cls> two three<mask> four five<sep>");
    expect(build(4).shown(masked("one two three", ", four"))).toBe("<cls><mask>,<sep>");
    expect(build(3).shown(masked("one two three", ", four"))).toBe("<cls><mask><sep>");
    expect(() => build(2).treeOf(masked("one", "."))).toThrow("x.jsonl:5: nothing but the mask is left within");
  });

  it("of any length and context, keeps what is around it and a stretch around the mask, and counts what is gone", () => {
    fc.assert(
      fc.property(text, text, fc.integer({ min: 3, max: 30 }), (before, after, contextLength) => {
        const { tokenizer, treeOf } = build(contextLength);
        const whole = treeBuilder(tokenizer, 1000, { reads: "masked" })(masked(`x${before}`, after));
        const cut = treeOf(masked(`x${before}`, after));
        expect(cut.shared).toHaveLength(Math.min(whole.shared.length, contextLength));
        expect(cut.truncated).toBe(whole.shared.length - cut.shared.length);
        const [at, from] = [cut.at!, whole.at!];
        expect(cut.shared[at]).toBe(tokenizer.mask.id);
        const stretch = cut.shared.slice(1, -1);
        expect(stretch).toEqual(whole.shared.slice(from - at + 1, from - at + 1 + stretch.length));
        expect([cut.shared[0], cut.shared.at(-1)]).toEqual([whole.shared[0], whole.shared.at(-1)]);
        // The sides differ by more than one token only where the shorter one is whole.
        const [left, right] = [at - 1, cut.shared.length - at - 2];
        const [allLeft, allRight] = [from - 1, whole.shared.length - from - 2];
        if (Math.abs(left - right) > 1) expect(left < right ? left === allLeft : right === allRight).toBe(true);
      }),
    );
  });

  it("words are single tokens, after a space or alone, known, and differ", () => {
    const { treeOf } = build();
    expect(() => treeOf(masked("It was", ".", ["not bad", "good"]))).toThrow(
      /x\.jsonl:5: a mask hides one token, and "not bad" is 2 in this model's vocabulary/,
    );
    expect(() => treeOf(masked("It was", ".", ["good", " good"]))).toThrow('"good" and "good" are the same token');
    const few = treeBuilder(fakeEncoder({ known: ["It", "was", "good", "."] }), 100, { reads: "masked" });
    expect(() => few(masked("It was", ".", ["good", "bad"]))).toThrow('"bad" is not in this model\'s vocabulary');
    // A vocabulary that has the word only without a space before it.
    const bare = { ...fakeEncoder() };
    const { encode } = bare;
    bare.encode = (text, options) => encode(text.replace(/^ (good|bad)$/, " _$1"), options);
    const tree = treeBuilder(bare, 100, { reads: "masked" })(masked("It was", ".", ["good", "bad"]));
    expect(tree.branches.map(({ ids }) => bare.decode(ids))).toEqual(["good", "bad"]);
  });

  it("a second mask, no mask, and a mask that is not one token are told apart", () => {
    const { treeOf, tokenizer } = build();
    expect(() => treeOf(masked("a<mask> film", "."))).toThrow("the row's own text holds <mask>");
    const { mask: _, ...without } = tokenizer;
    const reads = { reads: "masked" } as const;
    expect(() => treeBuilder(without, 100, reads)(masked("It was", "."))).toThrow("has no mask token (mask_token in");
    const split = { ...tokenizer, mask: { text: "[MASK]", id: tokenizer.mask.id } };
    expect(() => treeBuilder(split, 100, reads)(masked("It was", "."))).toThrow("does not read its mask [MASK] as one");
  });

  it("cannot be asked to continue text", () => {
    const treeOf = treeBuilder(fakeEncoder(), 100, { reads: "masked" });
    expect(() => treeOf(formats.completion.example(row({ prompt: "a", completion: " b" })))).toThrow(
      /x\.jsonl:5: this model fills a mask, and does not continue text/,
    );
    expect(() => treeOf(formats.chat.example(row({ messages: [{ role: "assistant", content: "a" }] })))).toThrow(
      /fills a mask/,
    );
  });
});

describe("a classifier's row", () => {
  const build = (contextLength = 100, tokenizer = fakeEncoder()) => ({
    tokenizer,
    treeOf: treeBuilder(tokenizer, contextLength, { reads: "class" }),
  });

  it("is read at its first token, and a class's index is its token", () => {
    const { tokenizer, treeOf } = build();
    const tree = treeOf(plain(["a film"], ["bad", "fair", "good"], 2));
    expect(tokenizer.decode(tree.shared)).toBe("<cls>a film<sep>");
    expect(tree).toMatchObject({ at: 0, types: [0, 0, 0, 0], label: 2, truncated: 0 });
    expect(tree.branches.map(({ ids }) => ids)).toEqual([[0], [1], [2]]);
  });

  it("a pair is one row of two types", () => {
    const { tokenizer, treeOf } = build();
    const tree = treeOf(plain(["It rains", "It is wet"]));
    expect(tokenizer.decode(tree.shared)).toBe("<cls>It rains<sep>It is wet<sep>");
    expect(tree.types).toEqual([0, 0, 0, 0, 1, 1, 1, 1]);
    const { pair: _, ...single } = tokenizer;
    expect(() => treeBuilder(single, 100, { reads: "class" })(plain(["a", "b"]))).toThrow("is a pair of texts");
  });

  it("of any length and context, loses the ends of the longer text and nothing else", () => {
    fc.assert(
      fc.property(text, text, fc.boolean(), fc.integer({ min: 4, max: 30 }), (first, second, pair, contextLength) => {
        const { tokenizer, treeOf } = build(contextLength);
        const tree = treeOf(plain(pair ? [`x${first}`, `y${second}`] : [`x${first}`]));
        const [one = "", two, ...rest] = tokenizer.decode(tree.shared).replace("<cls>", "").split("<sep>");
        expect(rest).toEqual(pair ? [""] : []);
        expect(`x${first}`.startsWith(one)).toBe(true);
        expect(`y${second}`.startsWith(two ?? "")).toBe(true);
        const count = (words: string) => tokenizer.encode(words, { special: false }).length;
        const whole = count(`x${first}`) + (pair ? count(`y${second}`) + 3 : 2);
        expect(tree.shared).toHaveLength(Math.min(whole, contextLength));
        expect(tree.truncated).toBe(whole - tree.shared.length);
        expect(tree.types).toHaveLength(tree.shared.length);
        expect(tree.types?.filter((type) => type === 1)).toHaveLength(pair ? count(two ?? "") + 1 : 0);
        if (!pair) return;
        const [left, right] = [count(one), count(two ?? "")];
        if (Math.abs(left - right) > 1) expect(left < right ? one === `x${first}` : two === `y${second}`).toBe(true);
      }),
    );
    expect(() => build(1).treeOf(plain(["a"]))).toThrow("nothing is left within the model's context of 1 tokens");
  });

  it("needs a first token that the tokenizer adds, and as many classes as options", () => {
    expect(() => treeBuilder(fakeTokenizer(), 100, { reads: "class" })(plain(["a"]))).toThrow(
      /the tokenizer puts nothing before a text .*post_processor/,
    );
    const three = treeBuilder(fakeEncoder(), 100, { reads: "class", classes: 3 });
    expect(three(plain(["a"], ["x", "y", "z"])).branches).toHaveLength(3);
    expect(() => three(plain(["a"]))).toThrow(
      "x.jsonl:5: the task has 2 options (no, yes), and the model sorts texts into 3 classes",
    );
  });
});

describe("any row", () => {
  it("whose tokens the model has no embeddings of is refused, words included", () => {
    const tokenizer = fakeEncoder();
    const asked = masked("It was", ".", ["good", "bad"]);
    const { shared, branches } = treeBuilder(tokenizer, 100, { reads: "masked" })(asked);
    const last = branches[1]?.ids[0] ?? 0;
    expect(last).toBeGreaterThan(Math.max(...shared));
    const knows = (vocabulary: number) => treeBuilder(tokenizer, 100, { reads: "masked", vocabulary });
    expect(knows(last + 1)(asked).branches).toHaveLength(2);
    expect(() => knows(last)(asked)).toThrow(
      `x.jsonl:5: the tokenizer gives token ${last}, and the model knows ${last}`,
    );
  });
});

describe("cutsOf", () => {
  it("takes from the longer list, all there is at most", () => {
    expect(cutsOf(5, 2, 4)).toEqual([4, 0]);
    expect(cutsOf(5, 2, 5)).toEqual([4, 1]);
    expect(cutsOf(2, 2, 1)).toEqual([1, 0]);
    expect(cutsOf(2, 2, 4)).toEqual([2, 2]);
    expect(cutsOf(2, 2, 5)).toBeUndefined();
  });
});

describe("preview", () => {
  it("marks the mask, and the words that it may hide", () => {
    const tokenizer = fakeEncoder();
    const task = templateTask({ prompt: "{text} It was{mask}.", options: "bad,good" });
    const example = task.example(row({ text: "a long dull film", label: 1 }), { reads: "masked" });
    const tree = treeBuilder(tokenizer, 8, { reads: "masked" })(example);
    expect(previewTree(tree, tokenizer, { title: "t" })).toBe(
      [
        "t  8 shared tokens + 2 branches · 2 scored · 2 tokens cut",
        "    <cls>| dull| film| It| was|[<mask>]|.|<sep>",
        "  0   [ bad]",
        "  1 ✓ [ good]",
      ].join("\n"),
    );
  });

  it("marks a classifier's first token; classes have no spelling, so the task's options stand for them", () => {
    const tokenizer = fakeEncoder();
    const task = templateTask({ prompt: "{text}", options: "bad,good" });
    const example = task.example(row({ text: "a film", label: "bad" }), { reads: "class" });
    const tree = treeBuilder(tokenizer, 8, { reads: "class" })(example);
    expect(previewTree(tree, tokenizer, { title: "t", classes: ["bad", "good"] })).toBe(
      ["t  4 shared tokens + 2 branches · 2 scored", "    [<cls>]|a| film|<sep>", "  0 ✓ [bad]", "  1   [good]"].join(
        "\n",
      ),
    );
  });
});
