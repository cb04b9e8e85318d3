import { ZerothError } from "../errors.js";
import type { Message } from "./task.js";
import { dressOf, type TextTokenizer } from "./text-tokenizer.js";

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
  if (messages === undefined)
    return [...dressOf(tokenizer).front, ...tokenizer.encode(prompt ?? "", { special: false })];
  if (tokenizer.chat === undefined)
    throw new ZerothError(
      "The model has no chat template, so it cannot answer a conversation.\nGive it a plain prompt, or add a chat_template.jinja to the model.",
      { kind: "usage" },
    );
  return tokenizer.encode(tokenizer.chat(messages, { addGenerationPrompt: true }), { special: false });
};
