import { Template } from "@huggingface/jinja";
import { Tokenizer as HubTokenizer } from "@huggingface/tokenizers";
import { messageOf, ZerothError } from "../errors.js";
import { oneLine } from "../one-line.js";
import { isJson } from "./json.js";

interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

/** Text to tokens and back. */
export interface Tokenizer {
  /** @param options.special also add what the tokenizer puts around a text, such as a BOS token. Default false. */
  encode(text: string, options?: { special: boolean }): number[];
  decode(ids: readonly number[], options?: { skipSpecial: boolean }): string;
  /** Two texts as one row, with what the tokenizer puts around and between them; types are 1 in the second. */
  pair(first: string, second: string): { readonly ids: number[]; readonly types: number[] };
  /** The token's own spelling. */
  token(id: number): string;
  /** The token that hides another; absent where the model has none. */
  readonly mask: { readonly text: string; readonly id: number } | undefined;
  /** The token that stands for text which the vocabulary cannot spell; absent where the model has none. */
  readonly unknown: number | undefined;
  /** The token that ends a text; absent where the tokenizer names none. */
  readonly end: number | undefined;
  /** The conversation as text by the model's chat template; absent where the model has none. */
  readonly chat: ((messages: readonly ChatMessage[], options: { addGenerationPrompt: boolean }) => string) | undefined;
}

/** What a tokenizer is made of, wherever it came from. */
export interface TokenizerFiles {
  /** `tokenizer.json`. */
  readonly tokenizer: Readonly<Record<string, unknown>>;
  /** `tokenizer_config.json`. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Jinja text. */
  readonly chatTemplate: string | undefined;
  /** Where they came from, for messages. */
  readonly from: string;
}

/** A special token of the configuration: a string, or an object with its content. */
const special = (config: Readonly<Record<string, unknown>>, name: string): string => {
  const value = config[name];
  if (typeof value === "string") return value;
  return typeof value === "object" && value !== null && "content" in value ? String(value.content) : "";
};

/** Masks as BERT and RoBERTa spell them: older configurations leave them to the tokenizer's class. */
const MASKS = ["[MASK]", "<mask>"];

/** The spelling of the token that hides another. */
const maskOf = ({ config, tokenizer }: TokenizerFiles): string => {
  const said = special(config, "mask_token");
  const added: readonly unknown[] = Array.isArray(tokenizer.added_tokens) ? tokenizer.added_tokens : [];
  const known = added.flatMap((token) => (isJson(token) ? [token.content] : []));
  return said === "" ? (MASKS.find((mask) => known.includes(mask)) ?? "") : said;
};

/** The spelling of the token for what the vocabulary cannot spell. */
const unknownOf = ({ config, tokenizer }: TokenizerFiles): string => {
  const said = special(config, "unk_token");
  return said === "" && isJson(tokenizer.model) ? special(tokenizer.model, "unk_token") : said;
};

/** A failure of the field's libraries on a model's files is a fault of the files: named, with what the library says. */
const blaming = <Result>(from: string, fault: string, work: () => Result): Result => {
  try {
    return work();
  } catch (error) {
    throw new ZerothError(`${from}: ${fault}: ${oneLine(messageOf(error))}.`, { cause: error });
  }
};

const chatOf = ({ chatTemplate, config, from }: TokenizerFiles): Tokenizer["chat"] => {
  if (chatTemplate === undefined) return undefined;
  let template: Template | undefined;
  return (messages, { addGenerationPrompt }) =>
    blaming(from, "the chat template cannot be used", () => {
      template ??= new Template(chatTemplate);
      return template.render({
        messages,
        add_generation_prompt: addGenerationPrompt,
        bos_token: special(config, "bos_token"),
        eos_token: special(config, "eos_token"),
        pad_token: special(config, "pad_token"),
        unk_token: special(config, "unk_token"),
        tools: null,
      });
    });
};

/** @throws ZerothError when the files make no tokenizer */
export const makeTokenizer = (files: TokenizerFiles): Tokenizer => {
  const fault = "the tokenizer cannot be used";
  const inner = blaming(files.from, fault, () => new HubTokenizer(files.tokenizer, files.config));
  const idOf = (text: string): number | undefined => (text === "" ? undefined : inner.token_to_id(text));
  const maskText = maskOf(files);
  const maskId = idOf(maskText);
  return {
    encode: (text, { special: add } = { special: false }) =>
      // Some tokenizers put a word boundary before nothing, too.
      text === "" && !add
        ? []
        : blaming(files.from, fault, () => Array.from(inner.encode(text, { add_special_tokens: add }).ids)),
    // As the ids say: the clean-up that some configurations ask for drops spaces before punctuation.
    decode: (ids, { skipSpecial } = { skipSpecial: false }) =>
      blaming(files.from, fault, () =>
        inner.decode([...ids], { skip_special_tokens: skipSpecial, clean_up_tokenization_spaces: false }),
      ),
    pair: (first, second) =>
      blaming(files.from, fault, () => {
        const { ids, token_type_ids: types } = inner.encode(first, { text_pair: second, return_token_type_ids: true });
        return { ids: Array.from(ids), types: Array.from(types) };
      }),
    token: (id) => inner.id_to_token(id) ?? `<${id}>`,
    mask: maskId === undefined ? undefined : { text: maskText, id: maskId },
    unknown: idOf(unknownOf(files)),
    end: idOf(special(files.config, "eos_token")),
    chat: chatOf(files),
  };
};
