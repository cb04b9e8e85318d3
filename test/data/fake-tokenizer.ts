import type { Message } from "../../src/data/task.js";

const pattern = /<[a-z/]+>| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]|\s/g;

export const BOS = 1;

/** Words with their leading space, digits, marks and white space are tokens; ids are given in order of first sight. */
export const fakeTokenizer = ({ bos = false, chat = false }: { bos?: boolean; chat?: boolean } = {}) => {
  const vocabulary = ["<pad>", "<bos>"];
  const idOf = (token: string): number => {
    const known = vocabulary.indexOf(token);
    return known >= 0 ? known : vocabulary.push(token) - 1;
  };
  const token = (id: number): string => vocabulary[id] ?? "?";
  return {
    token,
    decode: (ids: readonly number[]) => ids.map(token).join(""),
    encode: (text: string, { special }: { special: boolean }): number[] => [
      ...(bos && special ? [BOS] : []),
      ...(text.match(pattern) ?? []).map(idOf),
    ],
    ...(chat && {
      chat: (messages: readonly Message[], { addGenerationPrompt }: { addGenerationPrompt: boolean }) =>
        `${messages.map(({ role, content }) => `<turn>${role}\n${content}<end>\n`).join("")}${addGenerationPrompt ? "<turn>assistant\n" : ""}`,
    }),
  };
};

/** As an encoder's: `<cls>` before a text and `<sep>` behind it, a mask, pairs, and unknown words where the vocabulary is closed. */
export const fakeEncoder = ({ known }: { known?: readonly string[] } = {}) => {
  const words = fakeTokenizer();
  const [cls = 0, sep = 0, mask = 0, unknown = 0] = words.encode("<cls><sep><mask><unk>", { special: false });
  const plain = (text: string): number[] =>
    words
      .encode(text, { special: false })
      .map((id) => (known === undefined || id === mask || known.includes(words.token(id).trim()) ? id : unknown));
  return {
    ...words,
    encode: (text: string, { special }: { special: boolean }): number[] =>
      special ? [cls, ...plain(text), sep] : plain(text),
    pair: (first: string, second: string) => {
      const [one, two] = [
        [cls, ...plain(first), sep],
        [...plain(second), sep],
      ];
      return { ids: [...one, ...two], types: [...one.map(() => 0), ...two.map(() => 1)] };
    },
    mask: { text: "<mask>", id: mask },
    unknown,
  };
};
