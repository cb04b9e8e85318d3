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
