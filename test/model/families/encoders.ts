import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { families } from "../../../src/model/families/index.js";
import { writeSafetensors } from "../../../src/model/safetensors.js";
import { writeJson } from "../tiny.js";
import { weightsOf } from "./tiny.js";

/* Tiny encoders in the hub's layout, with tokenizers of their own kind: BERT's word pieces and RoBERTa's pairs of bytes. */

const added = (words: readonly string[], mask: string) =>
  words.map((content, id) => ({
    ...{ id, content, special: true, normalized: false, single_word: false, rstrip: false },
    // RoBERTa's mask takes the space before it along.
    lstrip: content === mask && content === "<mask>",
  }));

/** Every word is one piece; other words are unknown. */
const wordPieces = (words: readonly string[]) => {
  const special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
  const vocabulary = [...special, ...new Set(words.map((word) => word.toLowerCase())), "##s"];
  const token = (id: string, type_id: number) => ({ SpecialToken: { id, type_id } });
  const text = (id: string, type_id: number) => ({ Sequence: { id, type_id } });
  const single = [token("[CLS]", 0), text("A", 0), token("[SEP]", 0)];
  return {
    vocabulary: vocabulary.length,
    config: { mask_token: "[MASK]", unk_token: "[UNK]", cls_token: "[CLS]", sep_token: "[SEP]" },
    tokenizer: {
      version: "1.0",
      added_tokens: added(special, "[MASK]"),
      normalizer: { type: "BertNormalizer", clean_text: true, handle_chinese_chars: true, lowercase: true },
      pre_tokenizer: { type: "BertPreTokenizer" },
      post_processor: {
        type: "TemplateProcessing",
        single,
        pair: [...single, text("B", 1), token("[SEP]", 1)],
        special_tokens: Object.fromEntries(
          ["[CLS]", "[SEP]"].map((id) => [id, { id, ids: [special.indexOf(id)], tokens: [id] }]),
        ),
      },
      decoder: { type: "WordPiece", prefix: "##", cleanup: true },
      model: {
        type: "WordPiece",
        unk_token: "[UNK]",
        continuing_subword_prefix: "##",
        max_input_chars_per_word: 100,
        vocab: Object.fromEntries(vocabulary.map((word, id) => [word, id])),
      },
    },
  };
};

/** Every word is one token after a space, and letters elsewhere. */
const bytePairs = (words: readonly string[]) => {
  const special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"];
  const letters = [...new Set(words.join("")), "Ġ"];
  // Letter by letter onto the space: no merge gets in the way of another.
  const merges = [...new Set(words.flatMap((word) => [...word].map((letter, i) => `Ġ${word.slice(0, i)} ${letter}`)))];
  const vocabulary = [...special, ...letters, ...merges.map((merge) => merge.replace(" ", ""))];
  return {
    vocabulary: vocabulary.length,
    // As old configurations have it: the mask is known by its spelling.
    config: { model_max_length: 512 },
    tokenizer: {
      version: "1.0",
      added_tokens: added(special, "<mask>"),
      normalizer: null,
      pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
      post_processor: {
        type: "RobertaProcessing",
        sep: ["</s>", 2],
        cls: ["<s>", 0],
        trim_offsets: true,
        add_prefix_space: false,
      },
      decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: "BPE",
        unk_token: null,
        vocab: Object.fromEntries(vocabulary.map((word, id) => [word, id])),
        merges,
      },
    },
  };
};

const kinds = {
  bert: { tokenizerOf: wordPieces, classifier: "classifier.weight", types: 2, positions: 64 },
  roberta: { tokenizerOf: bytePairs, classifier: "classifier.out_proj.weight", types: 1, positions: 66 },
} as const;
export type EncoderKind = keyof typeof kinds;

/**
 * Writes an encoder's folder: with a classifier of some classes, or the head that fills masks.
 * @param words all that its texts are made of, marks included
 */
export const writeEncoder = async (
  folder: string,
  kind: EncoderKind,
  { words, classes }: { words: readonly string[]; classes?: number },
): Promise<void> => {
  const { tokenizerOf, classifier, types, positions } = kinds[kind];
  const { vocabulary, config: tokenizerConfig, tokenizer } = tokenizerOf(words);
  const config = {
    model_type: kind,
    hidden_size: 16,
    intermediate_size: 32,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    vocab_size: vocabulary,
    max_position_embeddings: positions,
    type_vocab_size: types,
    layer_norm_eps: 1e-12,
    ...(classes === undefined
      ? {}
      : { id2label: Object.fromEntries(Array.from({ length: classes }, (_, i) => [i, `LABEL_${i}`])) }),
  };
  const family = families.find(({ modelTypes }) => modelTypes.includes(kind));
  const bound = family?.bind(config, (name) => name === classifier && classes !== undefined, "config.json");
  await mkdir(folder, { recursive: true });
  await writeJson(join(folder, "config.json"), config);
  await writeJson(join(folder, "tokenizer.json"), tokenizer);
  await writeJson(join(folder, "tokenizer_config.json"), tokenizerConfig);
  const tensors = (bound?.parameters ?? []).map(({ name, shape }) => ({
    name,
    shape,
    dtype: "F32" as const,
    bytes: () => new Uint8Array(weightsOf(name, shape).buffer as ArrayBuffer),
  }));
  await writeSafetensors(join(folder, "model.safetensors"), tensors);
};
