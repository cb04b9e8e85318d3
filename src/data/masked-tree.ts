import { ZerothError } from "../errors.js";
import { placeOf } from "./rows.js";
import { cutsOf, without } from "./shorten.js";
import type { MaskedExample } from "./task.js";
import type { Dress, TextTokenizer } from "./text-tokenizer.js";
import type { TokenTree } from "./tree.js";

/** The one token of each word, as it stands after a space or, where it has no such form, alone. */
const wordsOf = (tokenizer: TextTokenizer, { options, row }: MaskedExample): readonly number[] => {
  const refuse = (fault: string): never => {
    throw new ZerothError(`${placeOf(row)}: ${fault}. Choose another word for that option.`, { kind: "usage" });
  };
  const ids = options.map((option) => {
    const word = option.trim();
    const ways = [` ${word}`, word].map((text) => tokenizer.encode(text, { special: false }));
    const [id] = ways.find(({ length }) => length === 1) ?? [];
    if (id === undefined)
      return refuse(
        `a mask hides one token, and ${JSON.stringify(word)} is ${ways[0]?.length} in this model's vocabulary`,
      );
    if (id === tokenizer.unknown) return refuse(`${JSON.stringify(word)} is not in this model's vocabulary`);
    return id;
  });
  const twice = ids.findIndex((id, i) => ids.indexOf(id) !== i);
  if (twice >= 0) {
    const [one, other] = [ids.indexOf(ids[twice] ?? 0), twice].map((i) => JSON.stringify(options[i]?.trim()));
    refuse(`${one} and ${other} are the same token in this model's vocabulary`);
  }
  return ids;
};

/**
 * A row around a mask. What is too long loses tokens on the longer side of the mask, those that are farthest from it; what the tokenizer puts
 * around a text stays.
 */
export const maskedTree = (
  tokenizer: TextTokenizer,
  { front, back }: Dress,
  contextLength: number,
  example: MaskedExample,
): TokenTree => {
  const { mask } = tokenizer;
  const { row, before, after, label } = example;
  const refuse = (fault: string): never => {
    throw new ZerothError(`${placeOf(row)}: ${fault}`);
  };
  if (mask === undefined)
    return refuse(
      "the model's tokenizer has no mask token (mask_token in tokenizer_config.json), which a masked language model needs.",
    );
  const whole = tokenizer.encode(`${before}${mask.text}${after}`, { special: true });
  const place = whole.indexOf(mask.id);
  if (place < 0)
    return refuse(
      `the tokenizer does not read its mask ${mask.text} as one token: tokenizer.json should list it in added_tokens.`,
    );
  if (whole.lastIndexOf(mask.id) !== place)
    return refuse(`the row's own text holds ${mask.text}, which is where the answer is read.`);
  const truncated = Math.max(0, whole.length - contextLength);
  const end = whole.length - back.length;
  const cuts = cutsOf(place - front.length, end - place - 1, truncated);
  if (cuts === undefined)
    return refuse(`nothing but the mask is left within the model's context of ${contextLength} tokens.`);
  const [left, right] = cuts;
  return {
    shared: without(without(whole, end - right, right), front.length, left),
    at: place - left,
    branches: wordsOf(tokenizer, example).map((id) => ({ ids: [id], scored: [] })),
    label,
    line: row.line,
    truncated,
  };
};
