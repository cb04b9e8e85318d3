import { ZerothError } from "../errors.js";
import type { Reading } from "../model/family.js";
import { placeOf } from "./rows.js";
import type { ChatExample, Example, MaskedExample, Message, PlainExample, TextExample } from "./task.js";
import type { TokenTree } from "./tree.js";

/** What is asked of a tokenizer here. */
export interface TextTokenizer {
  /** @param options.special also add what the tokenizer puts around a text, such as a BOS token */
  encode(text: string, options: { special: boolean }): number[];
  /** Two texts as one row; types are 1 in the second. */
  pair?(first: string, second: string): { readonly ids: readonly number[]; readonly types: readonly number[] };
  /** The token that hides another; absent where the model has none. */
  readonly mask?: { readonly text: string; readonly id: number } | undefined;
  /** The conversation as text by the model's chat template; absent where the model has none. */
  readonly chat?: ((messages: readonly Message[], options: { addGenerationPrompt: boolean }) => string) | undefined;
}

/** A whole path: all its tokens and the positions of those that are scored. */
interface Path {
  readonly ids: readonly number[];
  readonly scored: readonly number[];
}

/** As MeZO strips: spaces, not line breaks. */
const stripSpaces = (text: string): string => text.replace(/^ +| +$/g, "");

const commonLength = (a: readonly number[], b: readonly number[]): number => {
  const end = Math.min(a.length, b.length);
  let length = 0;
  while (length < end && a[length] === b[length]) length++;
  return length;
};

const range = (start: number, end: number): number[] =>
  Array.from({ length: Math.max(0, end - start) }, (_, i) => start + i);

/** What the tokenizer puts in front of every text: a BOS token where the model's tokenizer asks for one. */
const prefixOf = (tokenizer: TextTokenizer): readonly number[] => {
  const plain = tokenizer.encode("a", { special: false });
  const dressed = tokenizer.encode("a", { special: true });
  const start = dressed.findIndex((_, i) => plain.every((id, j) => dressed[i + j] === id));
  return start < 0 ? [] : dressed.slice(0, start);
};

/**
 * The tokens that generated text goes on from: a prompt as the tokenizer begins a text, or a conversation up to where the assistant speaks.
 * @throws ZerothError (usage) for both or neither, or a conversation where the model has no chat template
 */
export const promptTokens = (
  tokenizer: TextTokenizer,
  { prompt, messages }: { readonly prompt?: string | undefined; readonly messages?: readonly Message[] | undefined },
): readonly number[] => {
  if ((prompt === undefined) === (messages === undefined))
    throw new ZerothError("Give a prompt, or messages: one of the two.", { kind: "usage" });
  if (messages === undefined) return [...prefixOf(tokenizer), ...tokenizer.encode(prompt ?? "", { special: false })];
  if (tokenizer.chat === undefined)
    throw new ZerothError(
      "The model has no chat template, so it cannot answer a conversation.\nGive it a plain prompt, or add a chat_template.jinja to the model.",
      { kind: "usage" },
    );
  return tokenizer.encode(tokenizer.chat(messages, { addGenerationPrompt: true }), { special: false });
};

const textPaths = (tokenizer: TextTokenizer, prefix: readonly number[], example: TextExample): readonly Path[] => {
  const { prompt, options, row } = example;
  const alone = tokenizer.encode(stripSpaces(prompt), { special: false }).length;
  return options.map((option) => {
    const together = tokenizer.encode(stripSpaces(prompt + option), { special: false });
    if (together.length <= alone) {
      throw new ZerothError(
        `${placeOf(row)}: ${JSON.stringify(option.slice(0, 80))} adds no token after its prompt, so there is nothing to score.\nGive it text, or a space in front: " great".`,
      );
    }
    const ids = [...prefix, ...together];
    return { ids, scored: range(prefix.length + alone, ids.length) };
  });
};

/**
 * The conversation with the assistant's tokens scored: what each assistant turn adds to its header (the conversation so far
 * with the generation prompt), up to and with its end-of-turn token but without the line break that templates put after it.
 */
const chatPath = (tokenizer: TextTokenizer, { messages, row }: ChatExample): Path => {
  const { chat } = tokenizer;
  if (chat === undefined) {
    throw new ZerothError(
      `${placeOf(row)}: the model has no chat template, so {"messages"} rows cannot be read.\nAdd a chat_template.jinja to the model, or use rows of {"prompt", "completion"}.`,
    );
  }
  const whole = chat(messages, { addGenerationPrompt: false });
  const ids = tokenizer.encode(whole, { special: false });
  /** Tokens of the whole that lie wholly inside its first characters. */
  const tokensOf = (part: string): number => {
    if (!whole.startsWith(part)) {
      throw new ZerothError(
        `${placeOf(row)}: the model's chat template writes earlier turns anew as the conversation goes on,\nso the assistant's part cannot be told. Give each exchange a row of its own.`,
      );
    }
    return commonLength(ids, tokenizer.encode(part, { special: false }));
  };
  const scored = messages.flatMap(({ role }, turn) => {
    if (role !== "assistant") return [];
    const header = turn === 0 ? "" : chat(messages.slice(0, turn), { addGenerationPrompt: true });
    const through = chat(messages.slice(0, turn + 1), { addGenerationPrompt: false }).trimEnd();
    return range(tokensOf(header), tokensOf(through));
  });
  return { ids, scored };
};

/** Cuts `cut` tokens from the left, after the first `keep`. */
const cutLeft = ({ ids, scored }: Path, cut: number, keep: number): Path => ({
  ids: [...ids.slice(0, keep), ...ids.slice(keep + cut)],
  scored: scored.filter((position) => position >= keep + cut).map((position) => position - cut),
});

/** A list without `cut` of its items from place `from` on. */
const without = (ids: readonly number[], from: number, cut: number): readonly number[] => [
  ...ids.slice(0, from),
  ...ids.slice(from + cut),
];

/** The one token of each word, as it stands after a space or, where it has no such form, alone. */
const wordsOf = (tokenizer: TextTokenizer, { options, row }: MaskedExample): readonly number[] =>
  options.map((option) => {
    const word = option.trim();
    const ways = [` ${word}`, word].map((text) => tokenizer.encode(text, { special: false }));
    const [id] = ways.find(({ length }) => length === 1) ?? [];
    if (id !== undefined) return id;
    throw new ZerothError(
      `${placeOf(row)}: a mask hides one token, and ${JSON.stringify(word)} is ${ways[0]?.length} in this model's vocabulary. Choose another word for that option.`,
      { kind: "usage" },
    );
  });

/** A row around a mask. What is too long loses tokens on the left of what stands before the mask, and then on the right of what stands after it. */
const maskedTree = (
  tokenizer: TextTokenizer,
  prefix: readonly number[],
  contextLength: number,
  example: MaskedExample,
): TokenTree => {
  const { mask } = tokenizer;
  const { row, before, after, label } = example;
  if (mask === undefined)
    throw new ZerothError(
      `${placeOf(row)}: the model's tokenizer has no mask token (mask_token in tokenizer_config.json), which a masked language model needs.`,
    );
  const whole = tokenizer.encode(`${before}${mask.text}${after}`, { special: true });
  const place = whole.indexOf(mask.id);
  if (place < 0 || whole.lastIndexOf(mask.id) !== place)
    throw new ZerothError(`${placeOf(row)}: the row's own text holds ${mask.text}, which is where the answer is read.`);
  const truncated = Math.max(0, whole.length - contextLength);
  const left = Math.min(truncated, place - prefix.length);
  const cut = without(whole, prefix.length, left);
  const at = place - left;
  // What the tokenizer puts behind a text stays.
  const ids = without(cut, at + 1, truncated - left);
  return {
    shared: ids,
    at,
    branches: wordsOf(tokenizer, example).map((id) => ({ ids: [id], scored: [] })),
    label,
    line: row.line,
    truncated,
  };
};

/** A classifier's row: a text, or a pair. What is too long loses tokens on the right of the longer text. */
const plainTree = (
  tokenizer: TextTokenizer,
  prefix: readonly number[],
  contextLength: number,
  { row, texts: [first, second], options, label }: PlainExample,
): TokenTree => {
  const alone = tokenizer.encode(first, { special: true });
  const whole =
    second === undefined || tokenizer.pair === undefined
      ? { ids: alone, types: alone.map(() => 0) }
      : tokenizer.pair(first, second);
  const truncated = Math.max(0, whole.ids.length - contextLength);
  const end = prefix.length + tokenizer.encode(first, { special: false }).length;
  const lengths = [end - prefix.length, second === undefined ? 0 : tokenizer.encode(second, { special: false }).length];
  // The same stands behind a text alone and behind the second of a pair.
  const lastEnd = whole.ids.length - (alone.length - end);
  let [cutFirst, cutSecond] = [0, 0];
  for (let i = 0; i < truncated; i++) {
    if ((lengths[0] ?? 0) - cutFirst >= (lengths[1] ?? 0) - cutSecond) cutFirst++;
    else cutSecond++;
  }
  const shorten = (list: readonly number[]) =>
    without(without(list, lastEnd - cutSecond, cutSecond), end - cutFirst, cutFirst);
  return {
    shared: shorten(whole.ids),
    types: shorten(whole.types),
    at: 0,
    branches: options.map((_, option) => ({ ids: [option], scored: [] })),
    label,
    line: row.line,
    truncated,
  };
};

/**
 * Makes trees of token ids out of examples.
 *
 * A path is strip(prompt + option), tokenised jointly; its last tokens(prompt + option) − tokens(prompt) tokens are scored
 * (MeZO's candidate length). Paths branch at their longest common prefix of tokens. Examples longer than the context lose
 * tokens on the left, all paths the same number, and keep the BOS token where the tokenizer adds one.
 *
 * A masked example is one row, read at its mask; a classifier's is one text or a pair, read at its first token.
 *
 * @param contextLength in tokens
 * @param reads how the model answers
 * @returns a function that throws ZerothError, naming file and line, for an option without tokens of its own or without context, or an
 *   example that such a model cannot be asked
 */
export const treeBuilder = (
  tokenizer: TextTokenizer,
  contextLength: number,
  reads: Reading = "next",
): ((example: Example) => TokenTree) => {
  const prefix = prefixOf(tokenizer);
  return (example) => {
    if (example.kind === "masked") return maskedTree(tokenizer, prefix, contextLength, example);
    if (example.kind === "plain") return plainTree(tokenizer, prefix, contextLength, example);
    if (reads !== "next")
      throw new ZerothError(
        `${placeOf(example.row)}: this model ${reads === "masked" ? "fills a mask" : "sorts texts into classes"}, and does not continue text. Give it a --task, or a --prompt with --options.`,
        { kind: "usage" },
      );
    const whole = example.kind === "chat" ? [chatPath(tokenizer, example)] : textPaths(tokenizer, prefix, example);
    const truncated = Math.max(0, ...whole.map(({ ids }) => ids.length - contextLength));
    const startsWithPrefix = whole.every(({ ids }) => prefix.every((id, i) => ids[i] === id));
    const keep = startsWithPrefix ? Math.min(prefix.length, contextLength - 1) : 0;
    // The first token of a path has nothing before it that could predict it.
    const paths = whole
      .map((path) => (truncated > 0 ? cutLeft(path, truncated, keep) : path))
      .map(({ ids, scored }) => ({ ids, scored: scored.filter((position) => position > 0) }));
    if (paths.some(({ scored }) => scored.length === 0)) {
      throw new ZerothError(
        truncated > 0
          ? `${placeOf(example.row)}: nothing to score is left within the model's context of ${contextLength} tokens.`
          : `${placeOf(example.row)}: nothing to score: the prompt is empty and the tokenizer adds no BOS token, or the answer is empty.`,
      );
    }
    const [first = { ids: [], scored: [] }, ...others] = paths;
    const shortest = Math.min(...paths.map(({ ids }) => ids.length));
    // Each branch keeps a token of its own; a path alone branches where its scoring starts.
    const limit = others.length === 0 ? (first.scored[0] ?? 0) : shortest - 1;
    const fork = others.reduce((length, { ids }) => Math.min(length, commonLength(first.ids, ids)), limit);
    const { also, golds } = example.kind === "text" ? example : {};
    return {
      ...(also === undefined ? {} : { also }),
      ...(golds === undefined ? {} : { golds }),
      shared: first.ids.slice(0, fork),
      branches: paths.map(({ ids, scored }) => ({ ids: ids.slice(fork), scored })),
      label: example.kind === "chat" ? 0 : example.label,
      line: example.row.line,
      truncated,
    };
  };
};
