import { describe, expect, it } from "vitest";
import { formats } from "../../src/data/formats.js";
import { previewTree } from "../../src/data/preview.js";
import { templateTask } from "../../src/data/template.js";
import { treeBuilder } from "../../src/data/tokenize.js";
import { fakeTokenizer } from "./fake-tokenizer.js";

const row = (fields: Record<string, unknown>) => ({ fields, file: "x.jsonl", line: 1 });

describe("preview", () => {
  it("shows the tree and brackets what is scored", () => {
    const tokenizer = fakeTokenizer();
    const task = templateTask({ prompt: "{text}\nIt was", options: " not bad, not good at all" });
    const tree = treeBuilder(tokenizer, 100)(task.example(row({ text: "a film", label: 1 })));
    expect(previewTree(tree, tokenizer, { title: "x.jsonl:1" })).toBe(
      [
        "x.jsonl:1  6 shared tokens + 2 branches · 6 scored",
        "    a| film|⏎",
        "    It| was|[ not]",
        "  0   [ bad]",
        "  1 ✓ [ good]|[ at]|[ all]",
      ].join("\n"),
    );
  });

  it("shows a conversation's assistant turns and what was cut", () => {
    const tokenizer = fakeTokenizer({ chat: true });
    const messages = [
      { role: "user", content: "hi" },
      { role: "assistant", content: "hello" },
    ];
    const tree = treeBuilder(tokenizer, 8)(formats.chat.example(row({ messages })));
    expect(previewTree(tree, tokenizer, { title: "t" })).toBe(
      [
        "t  5 shared tokens + 1 branch · 2 scored · 4 tokens cut from the left",
        "    <end>|⏎",
        "    <turn>|assistant|⏎",
        "  0 ✓ [hello]|[<end>]|⏎",
      ].join("\n"),
    );
  });

  it("spells a token that decodes to part of a character, and keeps SentencePiece's spaces", () => {
    const tree = { shared: [0, 1], branches: [{ ids: [2], scored: [2] }], label: 0, line: 1, truncated: 0 };
    const spelled = ["▁a", "Ã", "<s>"];
    const decoded = ["a", "\uFFFD", ""];
    const tokenizer = {
      token: (id: number) => spelled[id] ?? "",
      decode: ([id = 0]: readonly number[]) => decoded[id] ?? "",
    };
    expect(previewTree(tree, tokenizer, { title: "t" })).toContain("     a|Ã\n  0 ✓ [<s>]");
  });

  it("colours only when asked", () => {
    const tree = { shared: [0], branches: [{ ids: [1], scored: [1] }], label: 0, line: 1, truncated: 0 };
    const tokenizer = { token: String, decode: (ids: readonly number[]) => ids.join() };
    const paint = "\u001b[";
    expect(previewTree(tree, tokenizer, { title: "t" })).not.toContain(paint);
    expect(previewTree(tree, tokenizer, { title: "t", colour: true })).toContain(paint);
  });
});
