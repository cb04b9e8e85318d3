import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formats } from "../../src/data/formats.js";
import type { Row } from "../../src/data/rows.js";
import { demonstrations, withDemonstrations } from "../../src/data/shots.js";
import type { TextExample } from "../../src/data/task.js";
import type { TextTokenizer } from "../../src/data/text-tokenizer.js";
import { treeBuilder } from "../../src/data/tokenize.js";
import { rightBranchOnly, type TokenTree } from "../../src/data/tree.js";
import { BOS, fakeTokenizer } from "./fake-tokenizer.js";

const row = (fields: Record<string, unknown> = {}): Row => ({ fields, file: "x.jsonl", line: 5 });

const example = (prompt: string, options: readonly string[], label = 0): TextExample => ({
  kind: "text",
  row: row(),
  prompt,
  options,
  answers: options,
  label,
});

const pathsOf = (tree: TokenTree) =>
  tree.branches.map(({ ids, scored }) => {
    const path = [...tree.shared, ...ids];
    return { path, scored: scored.map((position) => path[position]) };
  });

describe("options", () => {
  it("branch after the context, one token each", () => {
    const tokenizer = fakeTokenizer();
    const tree = treeBuilder(tokenizer, 100)(example("a good film It was", [" terrible", " great"], 1));
    expect(tokenizer.decode(tree.shared)).toBe("a good film It was");
    expect(tree.branches.map(({ ids }) => tokenizer.decode(ids))).toEqual([" terrible", " great"]);
    expect(tree.branches.map(({ scored }) => scored)).toEqual([[5], [5]]);
    expect(tree).toMatchObject({ label: 1, line: 5, truncated: 0 });
  });

  it("spaces are stripped outside, kept between, and line breaks stay", () => {
    const tokenizer = fakeTokenizer();
    const tree = treeBuilder(tokenizer, 100)(example("  Ann ran because ", ["she ran. ", "she sat.\n"]));
    expect(pathsOf(tree).map(({ path }) => tokenizer.decode(path))).toEqual([
      "Ann ran because she ran.",
      "Ann ran because she sat.\n",
    ]);
  });

  it("options that begin alike share those tokens, and count them", () => {
    const tokenizer = fakeTokenizer();
    const tree = treeBuilder(tokenizer, 100)(example("It was", [" not good", " not bad at all", " not"]));
    expect(tokenizer.decode(tree.shared)).toBe("It was");
    const two = treeBuilder(tokenizer, 100)(example("It was", [" not good", " not bad at all"]));
    expect(tokenizer.decode(two.shared)).toBe("It was not");
    expect(two.branches.map(({ scored }) => scored)).toEqual([
      [2, 3],
      [2, 3, 4, 5],
    ]);
    for (const tree_ of [tree, two]) for (const { ids } of tree_.branches) expect(ids.length).toBeGreaterThan(0);
  });

  it("a context whose last token joins the option's first branches before it; MeZO's count decides what is scored", () => {
    // "ab" is one token, every other letter one of its own: "xa" + "bc" is x·ab·c, one token more than x·a.
    const tokenizer: TextTokenizer = {
      encode: (text) => (text.match(/ab|./g) ?? []).map((token) => token.length * 1000 + token.charCodeAt(0)),
    };
    const tree = treeBuilder(tokenizer, 100)(example("xa", ["bc", "dc"]));
    expect(tree.shared).toEqual(tokenizer.encode("x", { special: false }));
    expect(tree.branches.map(({ ids }) => ids)).toEqual(
      ["abc", "adc"].map((text) => tokenizer.encode(text, { special: false })),
    );
    expect(tree.branches.map(({ scored }) => scored)).toEqual([[2], [2, 3]]);
  });

  it("a lone completion branches where scoring starts", () => {
    const tokenizer = fakeTokenizer();
    const tree = treeBuilder(
      tokenizer,
      100,
    )(formats.completion.example(row({ prompt: "Two and two:", completion: " it is four" })));
    expect(tokenizer.decode(tree.shared)).toBe("Two and two:");
    expect(tree.branches).toHaveLength(1);
    expect(tree.branches[0]?.scored).toEqual([4, 5, 6]);
  });

  it("an option without tokens of its own is refused with its place", () => {
    const build = treeBuilder(fakeTokenizer(), 100);
    expect(() => build(example("It was", [" good", "  "]))).toThrow(/x\.jsonl:5: " {2}" adds no token/);
    expect(() => build(example("It wa", ["s", " good"]))).toThrow(/adds no token/);
  });

  it("an empty prompt needs a BOS token", () => {
    expect(() => treeBuilder(fakeTokenizer(), 100)(example("", ["Yes", "No"]))).toThrow(/prompt is empty/);
    const tree = treeBuilder(fakeTokenizer({ bos: true }), 100)(example("", ["Yes", "No"]));
    expect(tree.shared).toEqual([BOS]);
    expect(tree.branches[0]?.scored).toEqual([1]);
  });
});

describe("truncation", () => {
  const prompt = "one two three four five six seven";

  it("cuts from the left, keeps BOS, counts, and moves the scored positions along", () => {
    const tokenizer = fakeTokenizer({ bos: true });
    const tree = treeBuilder(tokenizer, 6)(example(prompt, [" yes", " no way"]));
    expect(pathsOf(tree).map(({ path }) => tokenizer.decode(path))).toEqual([
      "<bos> five six seven yes",
      "<bos> five six seven no way",
    ]);
    expect(pathsOf(tree).map(({ scored }) => tokenizer.decode(scored as number[]))).toEqual([" yes", " no way"]);
    expect(tree.truncated).toBe(4);
  });

  it("without a BOS token nothing is kept in front", () => {
    const tokenizer = fakeTokenizer();
    const tree = treeBuilder(tokenizer, 4)(example(prompt, [" yes", " no"]));
    expect(tokenizer.decode(tree.shared)).toBe(" five six seven");
  });

  it("refuses when nothing scored is left", () => {
    const build = treeBuilder(fakeTokenizer(), 2);
    expect(() => build(example(prompt, [" yes", " a b c d"]))).toThrow(/context of 2 tokens/);
  });

  it("scores exactly the same tokens as without it, as far as they fit", () => {
    const words = fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(
        words,
        words,
        words,
        fc.integer({ min: 9, max: 20 }),
        fc.boolean(),
        (context, one, two, limit, bos) => {
          const tokenizer = fakeTokenizer({ bos });
          const whole = example(`x ${context.join(" ")}`, [` ${one.join(" ")}`, ` ${two.join(" ")}`]);
          const full = pathsOf(treeBuilder(tokenizer, 1000)(whole));
          const tree = treeBuilder(tokenizer, limit)(whole);
          const cut = pathsOf(tree);
          const longest = Math.max(...full.map(({ path }) => path.length));
          expect(tree.truncated).toBe(Math.max(0, longest - limit));
          cut.forEach(({ path, scored }, b) => {
            expect(path.length).toBe((full[b]?.path.length ?? 0) - tree.truncated);
            expect(path.slice(bos ? 1 : 0)).toEqual(full[b]?.path.slice(tree.truncated + (bos ? 1 : 0)));
            if (bos) expect(path[0]).toBe(BOS);
            expect(scored).toEqual(full[b]?.scored.slice(-scored.length));
          });
        },
      ),
    );
  });
});

describe("chat", () => {
  const tokenizer = fakeTokenizer({ chat: true });
  const chatRow = (...messages: readonly (readonly [string, string])[]) =>
    formats.chat.example(row({ messages: messages.map(([role, content]) => ({ role, content })) }));

  it("scores each assistant turn and its end of turn, no header, nobody else's words", () => {
    const tree = treeBuilder(
      tokenizer,
      100,
    )(chatRow(["user", "hi"], ["assistant", "hello you"], ["user", "bye"], ["assistant", "so long"]));
    const [only] = pathsOf(tree);
    expect(tokenizer.decode(only?.path ?? [])).toBe(
      "<turn>user\nhi<end>\n<turn>assistant\nhello you<end>\n<turn>user\nbye<end>\n<turn>assistant\nso long<end>\n",
    );
    expect(tokenizer.decode(only?.scored as number[])).toBe("hello you<end>so long<end>");
    expect(tokenizer.decode(tree.shared)).toBe("<turn>user\nhi<end>\n<turn>assistant\n");
  });

  it("refuses rows without messages, without an assistant, models without a template, templates that rewrite", () => {
    expect(() => formats.chat.example(row({ messages: "hi" }))).toThrow(/x\.jsonl:5: "messages" should be a list/);
    expect(() => formats.chat.example(row({ messages: [{ role: "user" }] }))).toThrow(/should be a list/);
    expect(() => chatRow(["user", "hi"])).toThrow(/no message of the role "assistant"/);
    expect(() => treeBuilder(fakeTokenizer(), 100)(chatRow(["user", "a"], ["assistant", "b"]))).toThrow(
      /no chat template/,
    );
    const forgetful: TextTokenizer = {
      ...tokenizer,
      chat: (messages) =>
        messages
          .slice(-2)
          .map(({ content }) => content)
          .join(" "),
    };
    expect(() =>
      treeBuilder(forgetful, 100)(chatRow(["user", "a"], ["assistant", "b"], ["user", "c"], ["assistant", "d"])),
    ).toThrow(/writes earlier turns anew/);
  });
});

describe("demonstrations", () => {
  it("stand in front, solved, two line breaks apart", () => {
    const text = demonstrations([
      example("a film It was", [" bad", " good"], 1),
      example("rain\nYes?\n", ["Yes", "No"], 0),
    ]);
    expect(text).toBe("a film It was good\n\nrain\nYes?\nYes");
    const tokenizer = fakeTokenizer();
    const tree = treeBuilder(tokenizer, 100)(withDemonstrations(example(" new It was", [" bad", " good"]), text));
    expect(tokenizer.decode(tree.shared)).toBe(`${text}\n\nnew It was`);
    expect(withDemonstrations(example("a", ["b"]), "")).toEqual(example("a", ["b"]));
  });
});

describe("rightBranchOnly", () => {
  it("keeps the context and the right branch", () => {
    const tree = treeBuilder(fakeTokenizer(), 100)(example("It was", [" bad", " good"], 1));
    expect(rightBranchOnly(tree)).toEqual({ ...tree, branches: [tree.branches[1]], label: 0 });
    expect(() => rightBranchOnly({ ...tree, label: -1 })).toThrow(RangeError);
  });
});
