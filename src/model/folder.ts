import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { ZerothError } from "../errors.js";
import { oneLine } from "../one-line.js";
import { isJson, type Json, readJson, readText } from "./json.js";
import type { OpenModel, Sidecar } from "./open.js";
import { readSafetensorsHeader } from "./safetensors.js";
import { makeTokenizer, type TokenizerFiles } from "./tokenizer.js";
import type { TensorSource } from "./weights.js";

/* The layout of Hugging Face's hub: one folder, fixed names. */
const CONFIG = "config.json";
const TOKENIZER = "tokenizer.json";
const TOKENIZER_CONFIG = "tokenizer_config.json";
const GENERATION_CONFIG = "generation_config.json";
const CHAT_TEMPLATE = "chat_template.jinja";
const WEIGHTS = "model.safetensors";
const INDEX = "model.safetensors.index.json";

/** Files that go along when a model is written anew, its configuration aside. */
const SIDECARS = [
  TOKENIZER,
  TOKENIZER_CONFIG,
  "special_tokens_map.json",
  "added_tokens.json",
  CHAT_TEMPLATE,
  GENERATION_CONFIG,
];

const python = (code: string, folder: string): string => `python -c "import sys; ${code}" ${JSON.stringify(folder)}`;

/** What a folder without safetensors most likely is, and what to do about it. */
const noWeights = (folder: string): ZerothError => {
  const names = readdirSync(folder);
  if (names.includes("adapter_model.safetensors")) {
    return new ZerothError(`${folder} is an adapter. Give it with --adapter, and its base model with --model.`);
  }
  if (names.some((name) => /^pytorch_model.*\.bin$/.test(name))) {
    return new ZerothError(
      `${folder} holds pytorch_model.bin, a Python pickle, which may run code when read; Zeroth reads safetensors. Convert it once:\n${python(
        "from transformers import AutoModelForCausalLM as A; A.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[1])",
        folder,
      )}`,
    );
  }
  return new ZerothError(
    `${folder} holds no ${WEIGHTS} and no ${INDEX}.\nGive a model folder, a .gguf file or a hub id (org/name).`,
  );
};

/** The shards of an index, checked: each is there, and is a neighbour rather than a path. */
const shardsOf = (folder: string): { names: readonly string[]; map: Json } => {
  const index = join(folder, INDEX);
  const map = readJson(index).weight_map;
  if (!isJson(map) || Object.keys(map).length === 0) throw new ZerothError(`${index} has no "weight_map".`);
  const names = [...new Set(Object.values(map))].map((name) => {
    if (typeof name !== "string" || name !== basename(name) || !name.endsWith(".safetensors")) {
      throw new ZerothError(`${index} names ${JSON.stringify(name)} as a shard: not a .safetensors file beside it.`);
    }
    return name;
  });
  const missing = names.filter((name) => !existsSync(join(folder, name)));
  if (missing.length > 0) {
    const some = missing.slice(0, 3).join(", ") + (missing.length > 3 ? ` and ${missing.length - 3} more` : "");
    throw new ZerothError(
      `${folder} lacks ${some}, which ${INDEX} names.\nThe download is incomplete: fetch it again.`,
    );
  }
  return { names: names.sort(), map };
};

const readWeights = (folder: string): { files: readonly string[]; weights: ReadonlyMap<string, TensorSource> } => {
  const read = (names: readonly string[]): ReadonlyMap<string, TensorSource> =>
    new Map(names.flatMap((name) => readSafetensorsHeader(join(folder, name))).map((source) => [source.name, source]));
  const filesOf = (weights: ReadonlyMap<string, TensorSource>): readonly string[] => [
    ...new Set([...weights.values()].map(({ file }) => file)),
  ];
  if (existsSync(join(folder, WEIGHTS))) {
    const weights = read([WEIGHTS]);
    return { weights, files: filesOf(weights) };
  }
  if (!existsSync(join(folder, INDEX))) throw noWeights(folder);
  const { names, map } = shardsOf(folder);
  const weights = read(names);
  const absent = Object.keys(map).find((name) => !weights.has(name));
  if (absent !== undefined) {
    throw new ZerothError(
      `${join(folder, String(map[absent]))} lacks ${oneLine(absent)}, which ${INDEX} says it has.\nFetch both files again.`,
    );
  }
  return { weights, files: filesOf(weights) };
};

/** The chat template wherever it is kept: a file of its own, or the configuration (a text, or a list with one named "default"). */
const chatTemplate = (folder: string, config: Json): string | undefined => {
  const file = join(folder, CHAT_TEMPLATE);
  if (existsSync(file)) return readText(file);
  const value = config.chat_template;
  if (typeof value === "string") return value;
  const named: readonly unknown[] = Array.isArray(value) ? value : [];
  const entry = named.find((one) => isJson(one) && one.name === "default");
  return isJson(entry) && typeof entry.template === "string" ? entry.template : undefined;
};

/** The configuration of a model folder, if it has one. */
export const readFolderConfig = (folder: string): { config: Json; configFile: string } | undefined => {
  const configFile = join(folder, CONFIG);
  return existsSync(configFile) ? { config: readJson(configFile), configFile } : undefined;
};

/** What a model folder says of generation; nothing where it says nothing. */
export const readFolderGeneration = (folder: string): Json => {
  const file = join(folder, GENERATION_CONFIG);
  return existsSync(file) ? readJson(file) : {};
};

/** The tokenizer of a model folder, if it has one. */
export const readFolderTokenizer = (folder: string): TokenizerFiles | undefined => {
  const file = join(folder, TOKENIZER);
  if (!existsSync(file)) return undefined;
  const configFile = join(folder, TOKENIZER_CONFIG);
  const config = existsSync(configFile) ? readJson(configFile) : {};
  return { tokenizer: readJson(file), config, chatTemplate: chatTemplate(folder, config), from: file };
};

export const folderSidecars = (folder: string): readonly Sidecar[] =>
  SIDECARS.filter((name) => existsSync(join(folder, name))).map((name) => ({
    name,
    content: readFileSync(join(folder, name)),
  }));

/**
 * Opens a folder in Hugging Face's layout; links are resolved, so that the runtime sees real files.
 * @throws ZerothError that names what is missing or wrong
 */
export const openFolder = (folder: string, origin: OpenModel["origin"]): OpenModel => {
  const { weights, files } = readWeights(folder);
  const found = readFolderConfig(folder);
  if (found === undefined) {
    throw new ZerothError(`${folder} has no ${CONFIG}: fetch it from where the model came from.`);
  }
  const tokenizer = readFolderTokenizer(folder);
  if (tokenizer === undefined) {
    throw new ZerothError(
      `${folder} has no ${TOKENIZER}: fetch it from where the model came from, or make it from older files:\n${python(
        "from transformers import AutoTokenizer as T; T.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[1])",
        folder,
      )}`,
    );
  }
  return {
    origin,
    ...found,
    generation: readFolderGeneration(folder),
    weights,
    files,
    tokenizer: makeTokenizer(tokenizer),
    tokenizerFiles: tokenizer,
    sidecars: () => folderSidecars(folder),
  };
};
