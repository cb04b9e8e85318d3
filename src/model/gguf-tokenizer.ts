import { ZerothError } from "../errors.js";
import type { GgufMetadata } from "./gguf.js";
import type { TokenizerFiles } from "./tokenizer.js";

/* A `tokenizer.json` made from what llama.cpp keeps in a GGUF's metadata. */

/** llama.cpp's token types. */
const CONTROL = 3;
const USER_DEFINED = 4;
const UNKNOWN = 2;

const regex = (pattern: string) => ({
  type: "Split",
  pattern: { Regex: pattern },
  behavior: "Isolated",
  invert: false,
});
const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
const gpt2Split = regex("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+");
const llama3Split = regex(
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
);
const qwen2Split = regex(
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
);

/** How text is cut before byte-level BPE, by llama.cpp's name (`tokenizer.ggml.pre`). */
const preTokenizers: Readonly<Record<string, readonly object[]>> = {
  "gpt-2": [gpt2Split],
  default: [gpt2Split],
  smollm: [{ type: "Digits", individual_digits: true }, gpt2Split],
  "llama-bpe": [llama3Split],
  llama3: [llama3Split],
  qwen2: [qwen2Split],
};

interface Vocabulary {
  readonly tokens: readonly string[];
  readonly types: readonly number[];
}

const texts = (metadata: GgufMetadata, key: string): readonly string[] | undefined => {
  const value = metadata.get(key);
  return Array.isArray(value) && value.every((item) => typeof item === "string")
    ? (value as readonly string[])
    : undefined;
};
const figures = (metadata: GgufMetadata, key: string): readonly number[] => {
  const value = metadata.get(key);
  return Array.isArray(value) ? value.map(Number) : [];
};

const addedTokens = ({ tokens, types }: Vocabulary) =>
  tokens.flatMap((content, id) => {
    const type = types[id];
    if (type !== CONTROL && type !== USER_DEFINED && type !== UNKNOWN) return [];
    return [
      {
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: type !== USER_DEFINED,
      },
    ];
  });

const vocabularyOf = ({ tokens }: Vocabulary): Record<string, number> =>
  Object.fromEntries(tokens.map((token, id) => [token, id]));

/** Byte-level BPE. */
const bpe = (metadata: GgufMetadata, vocabulary: Vocabulary, path: string) => {
  const pre = String(metadata.get("tokenizer.ggml.pre") ?? "default");
  const split = preTokenizers[pre];
  if (split === undefined) {
    throw new ZerothError(
      `${path}: the pre-tokenizer "${pre}" is not supported. Known: ${Object.keys(preTokenizers).join(", ")}.\nUse the model's Hugging Face folder with its tokenizer.json.`,
    );
  }
  const merges = texts(metadata, "tokenizer.ggml.merges") ?? [];
  return {
    normalizer: null,
    pre_tokenizer: { type: "Sequence", pretokenizers: [...split, byteLevel] },
    decoder: { ...byteLevel, add_prefix_space: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: vocabularyOf(vocabulary),
      merges,
    },
  };
};

/**
 * SentencePiece as BPE: of all ways to split a token into two others, those of higher-scored tokens merge first, and among one
 * token's splits those of earlier parts.
 */
const sentencePieceMerges = (
  tokens: readonly string[],
  scores: readonly number[],
  types: readonly number[],
): readonly string[] => {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const NORMAL = 1;
  const found = tokens.flatMap((token, id) => {
    if ((types[id] ?? NORMAL) !== NORMAL && types[id] !== USER_DEFINED) return [];
    const letters = [...token];
    return letters
      .slice(1)
      .map((_, i) => [letters.slice(0, i + 1).join(""), letters.slice(i + 1).join("")] as const)
      .filter(([left, right]) => ids.has(left) && ids.has(right))
      .map(([left, right]) => ({
        left,
        right,
        score: scores[id] ?? 0,
        order: [ids.get(left) ?? 0, ids.get(right) ?? 0] as const,
      }))
      .sort((a, b) => a.order[0] - b.order[0] || a.order[1] - b.order[1]);
  });
  return found.sort((a, b) => b.score - a.score).map(({ left, right }) => `${left} ${right}`);
};

const sentencePiece = (metadata: GgufMetadata, vocabulary: Vocabulary) => {
  const unknown = Number(metadata.get("tokenizer.ggml.unknown_token_id") ?? 0);
  const prefix = metadata.get("tokenizer.ggml.add_space_prefix") !== false;
  const scores = figures(metadata, "tokenizer.ggml.scores");
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
      type: "BPE",
      dropout: null,
      unk_token: vocabulary.tokens[unknown] ?? null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      vocab: vocabularyOf(vocabulary),
      merges: sentencePieceMerges(vocabulary.tokens, scores, vocabulary.types),
    },
  };
};

/** llama.cpp's tokenizer kinds. */
const kinds: Readonly<Record<string, (metadata: GgufMetadata, vocabulary: Vocabulary, path: string) => object>> = {
  gpt2: bpe,
  llama: sentencePiece,
};

/** Puts a token before every text. */
const beginWith = (token: string, id: number) => ({
  type: "TemplateProcessing",
  single: [{ SpecialToken: { id: token, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
  pair: [
    { SpecialToken: { id: token, type_id: 0 } },
    { Sequence: { id: "A", type_id: 0 } },
    { Sequence: { id: "B", type_id: 1 } },
  ],
  special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
});

/**
 * The tokenizer that a GGUF carries.
 * @throws ZerothError when it carries none, or one of a kind that is not supported
 */
export const ggufTokenizer = (metadata: GgufMetadata, path: string): TokenizerFiles => {
  const kind = String(metadata.get("tokenizer.ggml.model") ?? "none");
  const make = kinds[kind];
  const tokens = texts(metadata, "tokenizer.ggml.tokens");
  if (make === undefined || tokens === undefined) {
    throw new ZerothError(
      `${path} carries a tokenizer of the kind "${kind}". Known: ${Object.keys(kinds).join(", ")}.\nUse the model's Hugging Face folder with its tokenizer.json.`,
    );
  }
  const vocabulary: Vocabulary = { tokens, types: figures(metadata, "tokenizer.ggml.token_type") };
  const idOf = (name: string): number | undefined => {
    const value = metadata.get(`tokenizer.ggml.${name}_token_id`);
    return typeof value === "number" ? value : undefined;
  };
  const tokenOf = (name: string): string | null => tokens[idOf(name) ?? -1] ?? null;
  const bos = idOf("bos");
  const begins = metadata.get("tokenizer.ggml.add_bos_token") ?? kind === "llama";
  const bosToken = tokenOf("bos");
  const template = metadata.get("tokenizer.chat_template");
  return {
    tokenizer: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: addedTokens(vocabulary),
      post_processor: begins === true && bos !== undefined && bosToken !== null ? beginWith(bosToken, bos) : null,
      ...make(metadata, vocabulary, path),
    },
    config: {
      tokenizer_class: "PreTrainedTokenizerFast",
      bos_token: bosToken,
      eos_token: tokenOf("eos"),
      pad_token: tokenOf("padding"),
      unk_token: tokenOf("unknown"),
      clean_up_tokenization_spaces: false,
      add_bos_token: begins === true,
    },
    chatTemplate: typeof template === "string" ? template : undefined,
    from: path,
  };
};
