import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ZerothError } from "../errors.js";
import { python, readWeights } from "./folder-weights.js";
import { isJson, type Json, readJson, readText } from "./json.js";
import type { OpenModel, Sidecar } from "./open.js";
import { makeTokenizer, type TokenizerFiles } from "./tokenizer.js";

/* The layout of Hugging Face's hub: one folder, fixed names. */
const CONFIG = "config.json";
const TOKENIZER = "tokenizer.json";
const TOKENIZER_CONFIG = "tokenizer_config.json";
const GENERATION_CONFIG = "generation_config.json";
const CHAT_TEMPLATE = "chat_template.jinja";

/** Files that go along when a model is written anew, its configuration aside. */
const SIDECARS = [
  TOKENIZER,
  TOKENIZER_CONFIG,
  "special_tokens_map.json",
  "added_tokens.json",
  CHAT_TEMPLATE,
  GENERATION_CONFIG,
];

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
  const { weights, files, unread } = readWeights(folder);
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
    unread,
    tokenizer: makeTokenizer(tokenizer),
    tokenizerFiles: tokenizer,
    sidecars: () => folderSidecars(folder),
  };
};
