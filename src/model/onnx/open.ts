import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ZerothError } from "../../errors.js";
import { decoderOf, GENAI, rootOf } from "../choose.js";
import { folderSidecars, readFolderConfig, readFolderGeneration, readFolderTokenizer } from "../folder.js";
import { isJson, type Json, readJson } from "../json.js";
import type { OpenModel } from "../open.js";
import { makeTokenizer } from "../tokenizer.js";
import { readOnnx } from "./file.js";
import { importModel } from "./imported.js";

/* ONNX models as exporters lay them out: the graph in a folder of its own, or beside the configuration. */

/** What a configuration in Hugging Face's terms would say. */
const configOf = (genai: Json): Json => {
  const model = isJson(genai.model) ? genai.model : {};
  const decoder = decoderOf(genai);
  return {
    model_type: model.type,
    vocab_size: model.vocab_size,
    max_position_embeddings: model.context_length,
    hidden_size: decoder.hidden_size,
    head_dim: decoder.head_size,
    num_attention_heads: decoder.num_attention_heads,
    num_key_value_heads: decoder.num_key_value_heads,
    num_hidden_layers: decoder.num_hidden_layers,
  };
};

/**
 * Opens an ONNX file as a model.
 * @param spec what the user gave
 * @throws ZerothError that names what is missing or wrong
 */
export const openOnnx = (path: string, spec: string): OpenModel => {
  const root = rootOf(path, existsSync);
  if (root === undefined)
    throw new ZerothError(
      `${path} has no config.json or ${GENAI} beside it or in the folder above: fetch it from where the model came from.`,
    );
  const genaiFile = join(root, GENAI);
  const genai = existsSync(genaiFile) ? readJson(genaiFile) : undefined;
  const found =
    readFolderConfig(root) ?? (genai === undefined ? undefined : { config: configOf(genai), configFile: genaiFile });
  if (found === undefined) throw new ZerothError(`${root} has no config.json.`);
  const tokenizer = readFolderTokenizer(root);
  if (tokenizer === undefined)
    throw new ZerothError(`${root} has no tokenizer.json: fetch it from where the model came from.`);
  const file = readOnnx(path, root);
  const { architecture, weights } = importModel(file, { config: found.config, genai });
  return {
    origin: { spec, kind: "onnx", path },
    ...found,
    weights,
    files: file.files,
    tokenizer: makeTokenizer(tokenizer),
    tokenizerFiles: tokenizer,
    generation: readFolderGeneration(root),
    imported: architecture,
    sidecars: () => [
      ...folderSidecars(root),
      ...(genai === undefined ? [] : [{ name: GENAI, content: readFileSync(genaiFile) }]),
    ],
  };
};
