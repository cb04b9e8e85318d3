import { ZerothError } from "../../errors.js";
import { oneLine } from "../../one-line.js";
import { folderSidecars, readFolderConfig, readFolderGeneration, readFolderTokenizer } from "../folder.js";
import type { Json } from "../json.js";
import type { OpenModel, Sidecar } from "../open.js";
import { makeTokenizer, type TokenizerFiles } from "../tokenizer.js";
import { elementsOf, readTensorSync, type TensorSource } from "../weights.js";
import { type GgufArchitecture, type GgufFacts, ggufArchitectures, isRotaryTensor } from "./architectures.js";
import type { GgufMetadata } from "./file.js";
import { hubName } from "./names.js";
import { readShards } from "./shards.js";
import { ggufTokenizer } from "./tokenizer.js";

const EMBEDDING = "token_embd.weight";
/** Rotary pairs of a head: more than any model has. */
const MOST_DIVISORS = 65_536;

type Tensors = ReadonlyMap<string, TensorSource>;

const factsOf = (name: string, metadata: GgufMetadata, tensors: Tensors, path: string): GgufFacts => ({
  path,
  number(key) {
    const value = metadata.get(`${name}.${key}`);
    if (value === undefined || typeof value === "number") return value;
    if (typeof value === "bigint") return Number(value);
    throw new ZerothError(`${path}: ${name}.${key} in its metadata is not one number: not supported.`);
  },
  text(key) {
    const value = metadata.get(`${name}.${key}`);
    return value === undefined ? undefined : String(value);
  },
  has: (tensor) => tensors.has(tensor),
  divisors(tensor) {
    const source = tensors.get(tensor);
    if (source === undefined) return undefined;
    return elementsOf(source.shape) > MOST_DIVISORS ? [] : [...readTensorSync(source)];
  },
});

/** The `config.json` that a file's metadata and tensors amount to. */
const configOf = (
  name: string,
  architecture: GgufArchitecture,
  metadata: GgufMetadata,
  tensors: Tensors,
  path: string,
): Json => {
  const facts = factsOf(name, metadata, tensors, path);
  const embedding = tensors.get(EMBEDDING);
  if (embedding === undefined) throw new ZerothError(`${path} has no token embedding (${EMBEDDING}).`);
  const [vocabulary = 0] = embedding.shape;
  const numbers = Object.fromEntries(
    Object.entries(architecture.numbers).map(([field, [key]]) => {
      const value = facts.number(key);
      if (value === undefined) throw new ZerothError(`${path}: its metadata lacks ${name}.${key}.`);
      return [field, value];
    }),
  );
  const token = (role: string): Json => {
    const id = metadata.get(`tokenizer.ggml.${role}_token_id`);
    // llama.cpp writes 2³² − 1 where there is none.
    return typeof id === "number" && id < vocabulary ? { [`${role === "padding" ? "pad" : role}_token_id`]: id } : {};
  };
  return {
    ...numbers,
    ...architecture.configOf(numbers, facts),
    ...token("bos"),
    ...token("eos"),
    ...token("padding"),
    tie_word_embeddings: !tensors.has("output.weight"),
    vocab_size: vocabulary,
  };
};

const countsOf = (config: Json) => ({
  heads: Number(config.num_attention_heads),
  keyHeads: Number(config.num_key_value_heads),
});

/** As Hugging Face names and shapes it. */
const sourceOf = (tensor: TensorSource, architecture: GgufArchitecture, config: Json, path: string): TensorSource => {
  const name = hubName(architecture.names, tensor.name);
  if (name === undefined) {
    const of = String(config.model_type);
    throw new ZerothError(
      `${path} has a tensor ${oneLine(tensor.name)}, which no plain ${of} model has: not supported.`,
    );
  }
  const kept = architecture.kept(name, countsOf(config));
  if (kept === undefined) return { ...tensor, name };
  return { ...tensor, name, kept, shape: kept.as === "transpose" ? [...tensor.shape].reverse() : tensor.shape };
};

const json = (name: string, value: Json): Sidecar => ({
  name,
  content: Buffer.from(`${JSON.stringify(value, null, 2)}\n`),
});

/** A tokenizer's files in Hugging Face's layout. */
const tokenizerSidecars = ({ tokenizer, config, chatTemplate }: TokenizerFiles): readonly Sidecar[] => [
  json("tokenizer.json", tokenizer),
  json("tokenizer_config.json", config),
  ...(chatTemplate === undefined ? [] : [{ name: "chat_template.jinja", content: Buffer.from(chatTemplate) }]),
];

/**
 * Opens a GGUF file, or one of several that a model is split over. Configuration and tokenizer come from its metadata, unless a folder is given that holds them.
 *
 * @throws ZerothError for another architecture, a damaged file, or tensors that are not supported
 */
export const openGguf = (path: string, origin: OpenModel["origin"], folder?: string): OpenModel => {
  const { metadata, tensors } = readShards(path);
  const name = String(metadata.get("general.architecture") ?? "not said");
  const known: Readonly<Record<string, GgufArchitecture>> = ggufArchitectures;
  const architecture = Object.hasOwn(known, name) ? known[name] : undefined;
  if (architecture === undefined)
    throw new ZerothError(
      `${path}: a GGUF of the architecture ${JSON.stringify(name.slice(0, 40))} is not supported.\nKnown: ${Object.keys(known).join(", ")}.`,
    );
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const made = configOf(name, architecture, metadata, byName, path);
  const weights = new Map(
    tensors
      .filter((tensor) => !isRotaryTensor(tensor.name))
      .map((tensor) => sourceOf(tensor, architecture, made, path))
      .map((source): [string, TensorSource] => [source.name, source]),
  );
  const beside = folder === undefined ? undefined : readFolderTokenizer(folder);
  const tokenizer = beside ?? ggufTokenizer(metadata, path);
  return {
    origin,
    ...((folder === undefined ? undefined : readFolderConfig(folder)) ?? { config: made, configFile: path }),
    generation: folder === undefined ? {} : readFolderGeneration(folder),
    weights,
    files: [...new Set([...weights.values()].map(({ file }) => file))],
    tokenizer: makeTokenizer(tokenizer),
    tokenizerFiles: tokenizer,
    sidecars: () =>
      beside === undefined || folder === undefined ? tokenizerSidecars(tokenizer) : folderSidecars(folder),
  };
};
