import { ZerothError } from "../../errors.js";
import type { Json } from "../json.js";
import type { TokenizerFiles } from "../tokenizer.js";
import type { GgufMetadata } from "./file.js";

/* A `tokenizer.json` made from what llama.cpp keeps in a GGUF's metadata. */

/** llama.cpp's token types. */
export const tokenTypes = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** How text becomes words before byte-level BPE merges within them. */
export interface PreTokenizer {
  readonly steps: readonly Json[];
  readonly normalizer?: Json;
  /** A word that is a token stays whole, whatever the merges say. */
  readonly ignoreMerges?: boolean;
  /** Whether a BOS token goes before every text where the metadata does not say. */
  readonly addBos?: boolean;
}

const split = (...alternatives: readonly string[]): Json => ({
  type: "Split",
  pattern: { Regex: alternatives.join("|") },
  behavior: "Isolated",
  invert: false,
});
const SPACES = ["\\s+(?!\\S)", "\\s+"];
const LINES = ["\\s*[\\r\\n]+", ...SPACES];
const CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d";
const gpt2 = split(CONTRACTIONS, " ?\\p{L}+", " ?\\p{N}+", " ?[^\\s\\p{L}\\p{N}]+", ...SPACES);
const digitwise: Json = { type: "Digits", individual_digits: true };
/** cl100k's words, with so many digits in one. */
const cl100k = (digits: string): Json =>
  split(`(?i:${CONTRACTIONS})`, "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+", digits, " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*", ...LINES);
const UPPER = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
const LOWER = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";
/** Words that end where a capital letter follows a small one, with their contractions and so many digits in one. */
const cased = (contractions: string, digits: string): Json =>
  split(
    `[^\\r\\n\\p{L}\\p{N}]?${UPPER}*${LOWER}+${contractions}`,
    `[^\\r\\n\\p{L}\\p{N}]?${UPPER}+${LOWER}*${contractions}`,
    digits,
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*",
    ...LINES,
  );

const llama3: PreTokenizer = { steps: [cl100k("\\p{N}{1,3}")], ignoreMerges: true, addBos: true };

/** By llama.cpp's name (`tokenizer.ggml.pre`), as each model's own `tokenizer.json` has it. */
export const preTokenizers = {
  default: { steps: [gpt2] },
  "gpt-2": { steps: [gpt2] },
  smollm: { steps: [digitwise, gpt2] },
  starcoder: { steps: [digitwise, gpt2] },
  refact: { steps: [digitwise, gpt2] },
  "llama-bpe": llama3,
  "llama-v3": llama3,
  llama3,
  falcon3: llama3,
  "smaug-bpe": { steps: [cl100k("\\p{N}{1,3}")] },
  qwen2: { steps: [cl100k("\\p{N}")], normalizer: { type: "NFC" } },
  "gpt-4o": { steps: [cased(`(?i:${CONTRACTIONS})?`, "\\p{N}{1,3}")] },
  tekken: { steps: [cased("", "\\p{N}")], ignoreMerges: true, addBos: true },
} as const satisfies Readonly<Record<string, PreTokenizer>>;
type PreName = keyof typeof preTokenizers;
const isPreName = (name: string): name is PreName => Object.hasOwn(preTokenizers, name);

interface Vocabulary {
  readonly tokens: readonly string[];
  readonly types: readonly number[];
}

/** What the two kinds of tokenizer differ in. */
interface Kind {
  readonly normalizer: Json | null;
  readonly pre_tokenizer: Json | null;
  readonly decoder: Json;
  readonly model: Json;
  readonly addBos: boolean;
}

const texts = (metadata: GgufMetadata, key: string): readonly string[] | undefined => {
  const value = metadata.get(key);
  return Array.isArray(value) && value.every((item): item is string => typeof item === "string") ? value : undefined;
};
const figures = (metadata: GgufMetadata, key: string): readonly number[] => {
  const value = metadata.get(key);
  return Array.isArray(value) ? value.map(Number) : [];
};

const byId = (tokens: readonly string[]): Readonly<Record<string, number>> =>
  Object.fromEntries(tokens.map((token, id) => [token, id]));

const bpeModel = { type: "BPE", dropout: null, continuing_subword_prefix: null, end_of_word_suffix: null };

/** Byte-level BPE. */
const byteLevelBpe = (metadata: GgufMetadata, { tokens }: Vocabulary, path: string): Kind => {
  const name = String(metadata.get("tokenizer.ggml.pre") ?? "default");
  const pre: PreTokenizer | undefined = isPreName(name) ? preTokenizers[name] : undefined;
  const merges = texts(metadata, "tokenizer.ggml.merges");
  if (pre === undefined || merges === undefined) {
    const fault =
      merges === undefined
        ? "has a tokenizer without merges"
        : `cuts text in a way (${JSON.stringify(name.slice(0, 40))}) that Zeroth does not know.\nKnown: ${Object.keys(preTokenizers).join(", ")}`;
    throw new ZerothError(`${path} ${fault}.\nUse the model's Hugging Face folder with its tokenizer.json.`);
  }
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  return {
    normalizer: pre.normalizer ?? null,
    pre_tokenizer: { type: "Sequence", pretokenizers: [...pre.steps, byteLevel] },
    decoder: { ...byteLevel, add_prefix_space: true },
    model: {
      ...bpeModel,
      unk_token: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: pre.ignoreMerges ?? false,
      vocab: byId(tokens),
      merges,
    },
    addBos: pre.addBos ?? false,
  };
};

/**
 * SentencePiece's scores as BPE merges, in the order that Hugging Face's converter gives them: by the score of what is made,
 * then by the length of its left part.
 */
const mergesOf = ({ tokens, types }: Vocabulary, scores: readonly number[]): readonly (readonly [string, string])[] => {
  const known = new Set(tokens);
  return tokens
    .flatMap((token, id) => {
      if ((types[id] ?? tokenTypes.normal) !== tokenTypes.normal && types[id] !== tokenTypes.userDefined) return [];
      const letters = [...token];
      return letters.slice(1).flatMap((_, i) => {
        const [left, right] = [letters.slice(0, i + 1).join(""), letters.slice(i + 1).join("")];
        return known.has(left) && known.has(right) ? [{ left, right, score: scores[id] ?? 0, length: i }] : [];
      });
    })
    .sort((a, b) => b.score - a.score || b.length - a.length)
    .map(({ left, right }) => [left, right] as const);
};

const sentencePiece = (metadata: GgufMetadata, vocabulary: Vocabulary): Kind => {
  const unknown = Number(metadata.get("tokenizer.ggml.unknown_token_id") ?? 0);
  const prefix = metadata.get("tokenizer.ggml.add_space_prefix") !== false;
  return {
    normalizer: {
      type: "Sequence",
      normalizers: [
        ...(prefix ? [{ type: "Prepend", prepend: "▁" }] : []),
        { type: "Replace", pattern: { String: " " }, content: "▁" },
      ],
    },
    pre_tokenizer: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        ...(prefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      ...bpeModel,
      unk_token: vocabulary.tokens[unknown] ?? null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: byId(vocabulary.tokens),
      merges: mergesOf(vocabulary, figures(metadata, "tokenizer.ggml.scores")),
    },
    addBos: true,
  };
};

/** llama.cpp's tokenizer kinds. */
const kinds: Readonly<Record<string, (metadata: GgufMetadata, vocabulary: Vocabulary, path: string) => Kind>> = {
  gpt2: byteLevelBpe,
  llama: sentencePiece,
};

const addedTokens = ({ tokens, types }: Vocabulary): readonly Json[] =>
  tokens.flatMap((content, id) => {
    const type = types[id];
    if (type !== tokenTypes.control && type !== tokenTypes.userDefined && type !== tokenTypes.unknown) return [];
    const special = type !== tokenTypes.userDefined;
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }];
  });

/** Puts a token before every text. */
const beginWith = (token: string, id: number): Json => {
  const begin = { SpecialToken: { id: token, type_id: 0 } };
  const sequence = (name: string, type: number) => ({ Sequence: { id: name, type_id: type } });
  return {
    type: "TemplateProcessing",
    single: [begin, sequence("A", 0)],
    pair: [begin, sequence("A", 0), sequence("B", 1)],
    special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
  };
};

/**
 * The tokenizer that a GGUF carries, in Hugging Face's form.
 * @throws ZerothError when it carries none, or one of a kind that is not supported
 */
export const ggufTokenizer = (metadata: GgufMetadata, path: string): TokenizerFiles => {
  const name = String(metadata.get("tokenizer.ggml.model") ?? "none");
  const make = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
  const tokens = texts(metadata, "tokenizer.ggml.tokens");
  if (make === undefined || tokens === undefined) {
    const found = make === undefined ? `a tokenizer of the kind ${JSON.stringify(name.slice(0, 40))}` : "no tokens";
    throw new ZerothError(
      `${path} carries ${found}. Known kinds: ${Object.keys(kinds).join(", ")}.\nUse the model's Hugging Face folder with its tokenizer.json.`,
    );
  }
  const vocabulary: Vocabulary = { tokens, types: figures(metadata, "tokenizer.ggml.token_type") };
  const { addBos, ...kind } = make(metadata, vocabulary, path);
  const idOf = (role: string): number => Number(metadata.get(`tokenizer.ggml.${role}_token_id`) ?? -1);
  const tokenOf = (role: string): string | null => tokens[idOf(role)] ?? null;
  const bos = tokenOf("bos");
  const begins = bos !== null && (metadata.get("tokenizer.ggml.add_bos_token") ?? addBos) === true;
  const template = metadata.get("tokenizer.chat_template");
  return {
    tokenizer: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: addedTokens(vocabulary),
      ...kind,
      post_processor: begins ? beginWith(bos, idOf("bos")) : null,
    },
    config: {
      tokenizer_class: "PreTrainedTokenizerFast",
      bos_token: bos,
      eos_token: tokenOf("eos"),
      pad_token: tokenOf("padding"),
      unk_token: tokenOf("unknown"),
      clean_up_tokenization_spaces: false,
      add_bos_token: begins,
    },
    chatTemplate: typeof template === "string" ? template : undefined,
    from: path,
  };
};
