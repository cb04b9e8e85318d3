import type { Message } from "./task.js";

/** What is asked of a tokenizer to make trees. */
export interface TextTokenizer {
  /** @param options.special also add what the tokenizer puts around a text, such as a BOS token */
  encode(text: string, options: { special: boolean }): number[];
  /** Two texts as one row; types are 1 in the second. */
  pair?(first: string, second: string): { readonly ids: readonly number[]; readonly types: readonly number[] };
  /** The token that hides another; absent where the model has none. */
  readonly mask?: { readonly text: string; readonly id: number } | undefined;
  /** The token that stands for text which the vocabulary cannot spell; absent where it can spell all. */
  readonly unknown?: number | undefined;
  /** The conversation as text by the model's chat template; absent where the model has none. */
  readonly chat?: ((messages: readonly Message[], options: { addGenerationPrompt: boolean }) => string) | undefined;
}

/** What a tokenizer puts around every text, such as a BOS token, or BERT's [CLS] and [SEP]. */
export interface Dress {
  readonly front: readonly number[];
  readonly back: readonly number[];
}

export const dressOf = (tokenizer: TextTokenizer): Dress => {
  const plain = tokenizer.encode("a", { special: false });
  const dressed = tokenizer.encode("a", { special: true });
  const start = dressed.findIndex((_, i) => plain.every((id, j) => dressed[i + j] === id));
  return start < 0
    ? { front: [], back: [] }
    : { front: dressed.slice(0, start), back: dressed.slice(start + plain.length) };
};
