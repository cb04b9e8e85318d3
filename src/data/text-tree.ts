import { ZerothError } from "../errors.js";
import { placeOf } from "./rows.js";
import type { ChatExample, TextExample } from "./task.js";
import type { Dress, TextTokenizer } from "./text-tokenizer.js";
import type { TokenTree } from "./tree.js";

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

/** The paths of a prompt and each of its options. */
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

/**
 * A prompt with its options, or a conversation. Paths branch at their longest common prefix of tokens. What is longer than the context loses
 * tokens on the left, all paths the same number, and keeps the BOS token where the tokenizer adds one.
 */
export const textTree = (
  tokenizer: TextTokenizer,
  { front }: Dress,
  contextLength: number,
  example: TextExample | ChatExample,
): TokenTree => {
  const whole = example.kind === "chat" ? [chatPath(tokenizer, example)] : textPaths(tokenizer, front, example);
  const truncated = Math.max(0, ...whole.map(({ ids }) => ids.length - contextLength));
  const startsWithFront = whole.every(({ ids }) => front.every((id, i) => ids[i] === id));
  const keep = startsWithFront ? Math.min(front.length, contextLength - 1) : 0;
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
