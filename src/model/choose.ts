import { readdirSync, statSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { ZerothError } from "../errors.js";
import { oneLine } from "../one-line.js";
import { shardsOf } from "./gguf/shards.js";
import { isJson, type Json, readJson } from "./json.js";

/* Which file of a folder is its model, by the same rule on this machine and on the hub. No weights are read here. */

/** What is known of a model folder before anything of it is opened. */
export interface Contents {
  /** As the user knows the folder. */
  readonly name: string;
  /** Of its files: relative, with slashes. */
  readonly paths: readonly string[];
  readonly readJson: (path: string) => Promise<Json>;
  /** How the user names one of the files. */
  readonly spell: (path: string) => string;
}

const CONFIG = "config.json";
/** ONNX Runtime GenAI's configuration. */
export const GENAI = "genai_config.json";
/** Where transformers.js and Optimum put the graph in fp32, now and before. */
const PLAIN = ["model", "decoder_model_merged", "decoder_model"].flatMap((name) => [
  `onnx/${name}.onnx`,
  `${name}.onnx`,
]);
/** Graphs of language models; encoders of images and other pieces go by other names. */
const GRAPH = /^(?:onnx\/)?(?:model|decoder(?:_with_past)?_model)(?:_\w+)?\.onnx$/;
/** Only beside a folder's configuration: those in folders below belong to something else. */
const SAFETENSORS = /^[^/]+\.safetensors(?:\.index\.json)?$/;

export const decoderOf = (genai: Json): Json => {
  const model = isJson(genai.model) ? genai.model : {};
  return isJson(model.decoder) ? model.decoder : {};
};

/** The folder that a graph's model is, where it has its configuration: the graph's own, or the one above it. */
export const rootOf = (graph: string, exists: (path: string) => boolean): string | undefined =>
  [dirname(graph), dirname(dirname(graph))].find((folder) =>
    [CONFIG, GENAI].some((name) => exists(`${folder}/${name}`)),
  );

const several = ({ name, spell }: Contents, what: string, found: readonly [string, ...string[]]): ZerothError =>
  new ZerothError(
    `${name} holds ${what}. Name the one to use, such as ${spell(found[0])}\nof ${oneLine(found.join(", "), 2000)}.`,
  );

/** The graph that a configuration of ONNX Runtime GenAI names. */
const namedBy = async (genai: string, { paths, readJson, spell }: Contents): Promise<string> => {
  const { filename } = decoderOf(await readJson(genai));
  const graph =
    typeof filename === "string" && filename === posix.basename(filename)
      ? posix.join(posix.dirname(genai), filename)
      : undefined;
  if (graph !== undefined && paths.includes(graph)) return graph;
  throw new ZerothError(
    `${spell(genai)} names ${oneLine(JSON.stringify(filename) ?? "nothing", 80)} as the decoder's graph, which is no file beside it.\nThe model is incomplete: fetch it again, or name the graph to use.`,
  );
};

/** The graph that a configuration names, the plain one, or the only one. */
const chooseGraph = async (contents: Contents): Promise<string | undefined> => {
  const { paths } = contents;
  if (paths.includes(GENAI)) return namedBy(GENAI, contents);
  const graphs = paths.filter((path) => GRAPH.test(path)).sort();
  const [only, ...others] = graphs;
  const plain = PLAIN.find((path) => graphs.includes(path));
  if (plain !== undefined) return plain;
  if (only !== undefined) {
    if (others.length === 0) return only;
    throw several(contents, `${graphs.length} ONNX graphs`, [only, ...others]);
  }
  const [genai, ...more] = paths.filter((path) => posix.basename(path) === GENAI);
  if (genai !== undefined && more.length === 0) return namedBy(genai, contents);
  const [first, ...rest] = paths.filter((path) => path.endsWith(".onnx")).sort();
  if (first === undefined) return undefined;
  throw several(contents, "no ONNX graph named like a language model's (onnx/model.onnx)", [first, ...rest]);
};

/**
 * The file that is a folder's model: a GGUF (the first, where it is split over several) or an ONNX graph. None where the folder has safetensors, or nothing of these.
 *
 * @throws ZerothError that lists them where there are several
 */
export const chooseFile = async (contents: Contents): Promise<string | undefined> => {
  const { paths } = contents;
  if (paths.some((path) => SAFETENSORS.test(path))) return undefined;
  const ggufs = paths.filter((path) => path.endsWith(".gguf")).map((path) => shardsOf(path)[0] ?? path);
  const [gguf, ...more] = [...new Set(ggufs)].sort();
  if (gguf === undefined) return chooseGraph(contents);
  if (more.length === 0) return gguf;
  throw several(contents, `${more.length + 1} GGUF models`, [gguf, ...more]);
};

const namesIn = (folder: string): readonly string[] =>
  statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true ? readdirSync(folder) : [];

/** A folder of this machine, as far as models lie in it: at its top, and in its `onnx/`. */
export const contentsOf = (folder: string): Contents => ({
  name: folder,
  paths: [...namesIn(folder), ...namesIn(join(folder, "onnx")).map((name) => `onnx/${name}`)],
  readJson: async (path) => readJson(join(folder, path)),
  spell: (path) => join(folder, path),
});
