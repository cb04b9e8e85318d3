import { ZerothError } from "../errors.js";
import { placeOf } from "./rows.js";
import { cutsOf, without } from "./shorten.js";
import type { PlainExample } from "./task.js";
import type { Dress, TextTokenizer } from "./text-tokenizer.js";
import type { TokenTree } from "./tree.js";

/** A classifier's row: a text, or a pair. What is too long loses tokens on the right of the longer text; what the tokenizer puts around texts stays. */
export const plainTree = (
  tokenizer: TextTokenizer,
  { front, back }: Dress,
  contextLength: number,
  { row, texts: [first, second], options, label }: PlainExample,
): TokenTree => {
  const refuse = (fault: string): never => {
    throw new ZerothError(`${placeOf(row)}: ${fault}`);
  };
  if (front.length === 0)
    return refuse(
      "the tokenizer puts nothing before a text ([CLS] or <s>: post_processor in tokenizer.json), and that is where a classifier's answer is read.",
    );
  const paired = second === undefined ? undefined : tokenizer.pair?.(first, second);
  if (second !== undefined && paired === undefined)
    return refuse("the row is a pair of texts, and the tokenizer reads single ones.");
  const alone = tokenizer.encode(first, { special: true });
  const { ids, types } = paired ?? { ids: alone, types: alone.map(() => 0) };
  const sizes = [first, second ?? ""].map((text) => tokenizer.encode(text, { special: false }).length);
  const [sizeOfFirst = 0, sizeOfSecond = 0] = sizes;
  const truncated = Math.max(0, ids.length - contextLength);
  const cuts = cutsOf(sizeOfFirst, sizeOfSecond, truncated);
  if (cuts === undefined) return refuse(`nothing is left within the model's context of ${contextLength} tokens.`);
  const [ofFirst, ofSecond] = cuts;
  // The same stands behind a text alone and behind the second of a pair.
  const [firstEnd, secondEnd] = [front.length + sizeOfFirst, ids.length - back.length];
  const shorten = (list: readonly number[]) =>
    without(without(list, secondEnd - ofSecond, ofSecond), firstEnd - ofFirst, ofFirst);
  return {
    shared: shorten(ids),
    types: shorten(types),
    at: 0,
    branches: options.map((_, option) => ({ ids: [option], scored: [] })),
    label,
    line: row.line,
    truncated,
  };
};
