import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ZerothError } from "../errors.js";
import { type Json, readJson } from "./json.js";
import type { OpenModel } from "./open.js";
import { readSafetensorsHeader } from "./safetensors.js";
import { makeTokenizer, type TokenizerFiles } from "./tokenizer.js";
import type { TensorSource } from "./weights.js";

const WEIGHTS = "model.safetensors";
const INDEX = "model.safetensors.index.json";

/** The safetensors files of a folder: one, or the shards that its index names. */
const weightFiles = (folder: string): readonly string[] => {
  if (existsSync(join(folder, WEIGHTS))) return [join(folder, WEIGHTS)];
  const index = join(folder, INDEX);
  if (existsSync(index)) {
    const map = readJson(index).weight_map;
    if (typeof map !== "object" || map === null) throw new ZerothError(`${index} has no "weight_map".`);
    const shards = [...new Set(Object.values(map).map(String))].sort();
    const outside = shards.find((shard) => shard.includes("/") || shard.includes("\\") || shard === "..");
    if (outside !== undefined) throw new ZerothError(`${index} names a shard outside its folder: ${outside}.`);
    const missing = shards.filter((shard) => !existsSync(join(folder, shard)));
    if (missing.length > 0) {
      throw new ZerothError(
        `${folder} lacks ${missing.join(", ")}, which ${INDEX} names.\nFetch the missing shards again.`,
      );
    }
    return shards.map((shard) => join(folder, shard));
  }
  const pickled = readdirSync(folder).find((name) => /^pytorch_model.*\.bin$/.test(name));
  if (pickled !== undefined) {
    throw new ZerothError(
      `${join(folder, pickled)} is a Python pickle, which may run code when read; Zeroth reads safetensors.\n` +
        `Convert it: python -c "from transformers import AutoModelForCausalLM as A; A.from_pretrained('.').save_pretrained('.', safe_serialization=True)"`,
    );
  }
  throw new ZerothError(
    `${folder} holds no ${WEIGHTS} and no ${INDEX}.\nGive a model folder, a .gguf file or a hub id.`,
  );
};

/** The chat template wherever it is kept: a file of its own, or the configuration (a text, or a list with one named "default"). */
const chatTemplate = (folder: string, config: Json): string | undefined => {
  const file = join(folder, "chat_template.jinja");
  if (existsSync(file)) return readFileSync(file, "utf8");
  const value = config.chat_template;
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return undefined;
  const named: unknown = value.find(
    (item: unknown) => typeof item === "object" && item !== null && "name" in item && item.name === "default",
  );
  return typeof named === "object" && named !== null && "template" in named ? String(named.template) : undefined;
};

/** @throws ZerothError when `tokenizer.json` is missing or not JSON */
export const readTokenizerFiles = (folder: string): TokenizerFiles => {
  const file = join(folder, "tokenizer.json");
  if (!existsSync(file)) {
    throw new ZerothError(
      `${folder} has no tokenizer.json.\nFetch it from where the model came from, or save the tokenizer as a fast one.`,
    );
  }
  const configFile = join(folder, "tokenizer_config.json");
  const config = existsSync(configFile) ? readJson(configFile) : {};
  return { tokenizer: readJson(file), config, chatTemplate: chatTemplate(folder, config), from: file };
};

/** Files that go along when a model is written anew. */
const SIDECARS = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
  "generation_config.json",
];

/**
 * Opens a folder in Hugging Face's layout; links are resolved, so that the runtime sees real files.
 * @throws ZerothError that names what is missing or wrong
 */
export const openFolder = (folder: string, origin: OpenModel["origin"]): OpenModel => {
  const configFile = join(folder, "config.json");
  if (!existsSync(configFile))
    throw new ZerothError(`${folder} has no config.json.\nGive a model folder, a .gguf file or a hub id.`);
  const config = readJson(configFile);
  const paths = weightFiles(folder);
  const weights = new Map<string, TensorSource>();
  for (const path of paths) for (const source of readSafetensorsHeader(path)) weights.set(source.name, source);
  return {
    origin,
    config,
    configFile,
    weights,
    files: [...new Set([...weights.values()].map(({ file }) => file))],
    tokenizer: makeTokenizer(readTokenizerFiles(folder)),
    sidecars: () =>
      SIDECARS.filter((name) => existsSync(join(folder, name))).map((name) => ({
        name,
        content: readFileSync(join(folder, name)),
      })),
  };
};
