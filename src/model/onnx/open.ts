import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ZerothError } from "../../errors.js";
import { folderSidecars, readFolderConfig, readFolderGeneration, readFolderTokenizer } from "../folder.js";
import { isJson, type Json, readJson } from "../json.js";
import type { OpenModel } from "../open.js";
import { makeTokenizer } from "../tokenizer.js";
import { readOnnx } from "./file.js";
import { importModel } from "./imported.js";

/* Where exporters put an ONNX model: transformers.js in onnx/, Optimum beside the configuration, ONNX Runtime GenAI where its configuration says. */

const GENAI = "genai_config.json";

const namesIn = (folder: string): readonly string[] =>
  statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true ? readdirSync(folder) : [];

/** Graphs of language models, in a folder or in its onnx/; encoders of images and other pieces go by other names. */
const graphsIn = (folder: string): readonly string[] =>
  [join(folder, "onnx"), folder].flatMap((place) =>
    namesIn(place)
      .filter((name) => /^(model|decoder(_with_past)?_model)(_\w+)?\.onnx$/.test(name))
      .sort()
      .map((name) => join(place, name)),
  );

export const holdsOnnx = (folder: string): boolean =>
  existsSync(join(folder, GENAI)) ||
  [folder, join(folder, "onnx")].some((place) => namesIn(place).some((name) => name.endsWith(".onnx")));

const decoderOf = (genai: Json): Json => {
  const model = isJson(genai.model) ? genai.model : {};
  return isJson(model.decoder) ? model.decoder : {};
};

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

/** The folder that a graph's model is: its own, or the one above it. */
const rootOf = (file: string): string => {
  const own = dirname(file);
  const isRoot = (folder: string) => existsSync(join(folder, "config.json")) || existsSync(join(folder, GENAI));
  const root = [own, dirname(own)].find(isRoot);
  if (root === undefined)
    throw new ZerothError(
      `${file} has no config.json or ${GENAI} beside it or in the folder above: fetch it from where the model came from.`,
    );
  return root;
};

/**
 * Opens an ONNX file as a model.
 * @param spec what the user gave
 * @throws ZerothError that names what is missing or wrong
 */
export const openOnnx = (path: string, spec: string): OpenModel => {
  const root = rootOf(path);
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

/** Opens a folder that holds an ONNX model: the graph that its configuration names, `model.onnx`, or the only one there is. */
export const openOnnxFolder = (folder: string): OpenModel => {
  const genaiFile = join(folder, GENAI);
  if (existsSync(genaiFile)) {
    const { filename } = decoderOf(readJson(genaiFile));
    if (typeof filename !== "string" || filename !== basename(filename) || !existsSync(join(folder, filename)))
      throw new ZerothError(
        `${genaiFile} names ${JSON.stringify(filename)} as the decoder's graph, which is no file beside it.\nThe download is incomplete: fetch it again.`,
      );
    return openOnnx(join(folder, filename), folder);
  }
  const graphs = graphsIn(folder);
  const plain = graphs.find((file) => basename(file) === "model.onnx");
  const [only, ...others] = graphs;
  const chosen = plain ?? (others.length === 0 ? only : undefined);
  if (chosen !== undefined) return openOnnx(chosen, folder);
  if (only === undefined)
    throw new ZerothError(
      `${folder} holds ONNX files, but none named like the graph of a language model (onnx/model.onnx).\nName the one to use.`,
    );
  throw new ZerothError(
    `${folder} holds ${graphs.length} ONNX graphs. Name the one to use, such as ${only}\nof ${graphs.map((file) => basename(file)).join(", ")}.`,
  );
};
