import { ZerothError } from "../errors.js";
import type { BoundFamily } from "../model/family.js";
import { maskedTree } from "./masked-tree.js";
import { plainTree } from "./plain-tree.js";
import { placeOf } from "./rows.js";
import type { Example } from "./task.js";
import { dressOf, type TextTokenizer } from "./text-tokenizer.js";
import { textTree } from "./text-tree.js";
import type { TokenTree } from "./tree.js";

/** What is asked of a model: how it answers, how many tokens it knows, and how many classes where it is a classifier. */
export type Asked = Pick<BoundFamily, "reads"> & Partial<Pick<BoundFamily, "vocabulary" | "classes">>;

/** What a model reads of its own accord. */
const does = { masked: "fills a mask", class: "sorts texts into classes" } as const;

/** Why an example cannot be asked of a model, in a sentence; nothing where it can. */
const objection = (example: Example, { reads, classes }: Asked): string | undefined => {
  if (example.kind === "plain" && classes !== undefined && classes !== example.options.length)
    return `the task has ${example.options.length} options (${example.answers.join(", ")}), and the model sorts texts into ${classes} classes (id2label in its config.json).`;
  if (reads !== "next" && (example.kind === "text" || example.kind === "chat"))
    return `this model ${does[reads]}, and does not continue text. Give it a --task, or a --prompt with --options.`;
  return undefined;
};

/** @throws ZerothError for a token that the model has no embedding of */
const checkIds = (tree: TokenTree, example: Example, { vocabulary = Number.POSITIVE_INFINITY }: Asked): void => {
  const words = example.kind === "plain" ? [] : tree.branches;
  const strange = [tree.shared, ...words.map(({ ids }) => ids)].flat().find((id) => id >= vocabulary);
  if (strange === undefined) return;
  throw new ZerothError(
    `${placeOf(example.row)}: the tokenizer gives token ${strange}, and the model knows ${vocabulary} (vocab_size).\nIts tokenizer.json is another model's: fetch it again.`,
  );
};

/**
 * Makes trees of token ids out of examples.
 *
 * A path is strip(prompt + option), tokenised jointly; its last tokens(prompt + option) − tokens(prompt) tokens are scored
 * (MeZO's candidate length). A masked example is one row, read at its mask; a classifier's is one text or a pair, read at its first token.
 * What is longer than the context is cut, never where the answer is read.
 *
 * @param contextLength in tokens
 * @returns a function that throws ZerothError, naming file and line, for an option without tokens of its own or without context, or an
 *   example that such a model cannot be asked
 */
export const treeBuilder = (
  tokenizer: TextTokenizer,
  contextLength: number,
  model: Asked = { reads: "next" },
): ((example: Example) => TokenTree) => {
  const dress = dressOf(tokenizer);
  const treeOf = (example: Example): TokenTree => {
    if (example.kind === "masked") return maskedTree(tokenizer, dress, contextLength, example);
    if (example.kind === "plain") return plainTree(tokenizer, dress, contextLength, example);
    return textTree(tokenizer, dress, contextLength, example);
  };
  return (example) => {
    const fault = objection(example, model);
    if (fault !== undefined) throw new ZerothError(`${placeOf(example.row)}: ${fault}`, { kind: "usage" });
    const tree = treeOf(example);
    checkIds(tree, example, model);
    return tree;
  };
};
