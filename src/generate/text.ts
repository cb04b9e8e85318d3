/** What is asked of a tokenizer to make text of tokens as they come. */
interface TokenReader {
  decode(ids: readonly number[], options?: { skipSpecial: boolean }): string;
}

/** Tokens of the prompt that the first new one is read after: where a word begins depends on what stands before it. */
const CONTEXT = 4;
/** What a decoder makes of a part of a character. */
const PARTIAL = "\uFFFD";

/** Text out of tokens, as they come. */
export interface TextStream {
  /** The text that has become certain with one more token, up to a stop sequence where that has come. */
  push(id: number): { readonly text: string; readonly stopped: boolean };
  /** The rest, when there are no more tokens. */
  end(): string;
}

/** How much of the end of a text may be the beginning of a stop sequence. */
const heldBack = (text: string, stops: readonly string[]): number =>
  Math.max(
    0,
    ...stops.map((stop) => {
      for (let length = Math.min(stop.length - 1, text.length); length > 0; length--)
        if (text.endsWith(stop.slice(0, length))) return length;
      return 0;
    }),
  );

/**
 * Parts of characters are held back until the rest of their bytes has come, and what may be the beginning of a stop sequence until it is
 * none. Special tokens are no text.
 *
 * @param prompt tokens that the text goes on from
 * @param stops texts that end it, and are no part of it; they may lie across tokens
 */
export const textStream = (
  tokenizer: TokenReader,
  prompt: readonly number[],
  stops: readonly string[] = [],
): TextStream => {
  // Tokens that are not told yet, after some that are: decoders look at neighbours.
  let window = prompt.slice(-CONTEXT);
  let told = window.length;
  let pending = "";
  const read = (ids: readonly number[]): string => tokenizer.decode(ids, { skipSpecial: true });
  const fresh = (): string => {
    const before = read(window.slice(0, told));
    const all = read(window);
    // A partial character at the end of the prompt may be made whole by the new tokens.
    let common = 0;
    while (common < before.length && before[common] === all[common]) common++;
    return all.slice(common);
  };
  const settle = (): void => {
    window = window.slice(-CONTEXT);
    told = window.length;
  };
  return {
    push(id) {
      window = [...window, id];
      const text = fresh();
      if (text.endsWith(PARTIAL)) return { text: "", stopped: false };
      settle();
      pending += text;
      const at = Math.min(...stops.map((stop) => pending.indexOf(stop)).filter((place) => place >= 0));
      if (Number.isFinite(at)) {
        const last = pending.slice(0, at);
        pending = "";
        return { text: last, stopped: true };
      }
      const certain = pending.slice(0, pending.length - heldBack(pending, stops));
      pending = pending.slice(certain.length);
      return { text: certain, stopped: false };
    },
    end() {
      const rest = pending + fresh();
      pending = "";
      settle();
      return rest;
    },
  };
};
