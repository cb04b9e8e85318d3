import { createColors } from "picocolors";
import type { TokenTree } from "./tree.js";

/** What is asked of a tokenizer to show tokens. */
export interface TokenReader {
  decode(ids: readonly number[]): string;
  /** The token as the vocabulary spells it. */
  token(id: number): string;
}

const tokenText = (tokenizer: TokenReader, id: number): string => {
  const spelled = tokenizer.token(id);
  const decoded = tokenizer.decode([id]);
  // A part of a multi-byte character, or a special token that decoding leaves out: better its vocabulary spelling.
  if (decoded === "" || decoded.includes("\uFFFD")) return spelled;
  // SentencePiece decoders drop the space in front of a text's first token.
  const text = spelled.startsWith("▁") && !decoded.startsWith(" ") ? ` ${decoded}` : decoded;
  return text.replaceAll("\n", "⏎").replaceAll("\t", "⇥");
};

/**
 * An example as the model sees it: tokens with `|` between, the scored ones in brackets (and green), the shared context
 * first, then each branch, the right one ticked. A line ends after a token that breaks the line.
 *
 * @param options.classes what a classifier's branches are called: they are no tokens
 */
export const previewTree = (
  tree: TokenTree,
  tokenizer: TokenReader,
  { title, colour = false, classes }: { title: string; colour?: boolean | undefined; classes?: readonly string[] },
): string => {
  const paint = createColors(colour);
  const { shared, branches, label, truncated, at } = tree;
  const count = (n: number, one: string, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

  const render = (ids: readonly number[], start: number, scored: ReadonlySet<number>, indent: string): string => {
    let out = indent;
    ids.forEach((id, i) => {
      const text = tokenText(tokenizer, id);
      out += scored.has(start + i) ? paint.green(paint.bold(`[${text}]`)) : text;
      const last = i === ids.length - 1;
      if (!last) out += text.endsWith("⏎") ? `\n${indent}` : paint.dim("|");
    });
    return out;
  };

  /** Options may begin with the same tokens: those count for every one of them. */
  const common = new Set(branches.flatMap(({ scored }) => scored.filter((position) => position < shared.length)));
  if (at !== undefined) common.add(at);
  const scoredCount = branches.reduce((sum, { scored }) => sum + (at === undefined ? scored.length : 1), 0);
  const facts = [
    `${count(shared.length, "shared token")} + ${count(branches.length, "branch", "branches")}`,
    `${scoredCount} scored`,
    ...(truncated > 0 ? [`${count(truncated, "token")} cut${at === undefined ? " from the left" : ""}`] : []),
  ];
  return [
    `${paint.bold(title)}  ${paint.dim(facts.join(" · "))}`,
    render(shared, 0, common, "    "),
    ...branches.map(({ ids, scored }, b) => {
      const own = at === undefined ? scored : ids.map((_, i) => shared.length + i);
      const name = classes?.[b];
      const lines =
        name === undefined ? render(ids, shared.length, new Set(own), "      ") : paint.green(paint.bold(`[${name}]`));
      const tick = b === label ? paint.green("✓") : " ";
      return `  ${paint.cyan(String(b))} ${tick} ${lines.trimStart()}`;
    }),
  ].join("\n");
};
