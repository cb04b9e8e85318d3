import { posix } from "node:path";
import { ZerothError } from "../errors.js";
import { oneLine } from "../one-line.js";
import { type Contents, GENAI, rootOf } from "./choose.js";
import { shardsOf } from "./gguf/shards.js";

/* Which files of a repository on the hub a model needs. */

/** Steps that begin with a letter or digit: nothing leads out of a folder, and every such path can be named after a hub id. */
const PLAIN = /^(?:\w[\w.+-]*\/)*\w[\w.+-]*$/;
export const isPlain = (path: unknown): path is string => typeof path === "string" && PLAIN.test(path);

const SETTINGS =
  /^(?:(?:config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json|chat_template\.jinja)$/;
const SAFETENSORS = /^model(?:-\d+-of-\d+)?\.safetensors(?:\.index\.json)?$/;
/** What follows the graph's name in those of files that it keeps weights in. */
const DATA = /^[._]data(?:_\d+)?$/;

const safetensorsFiles = ({ name, paths }: Contents): readonly string[] => {
  if (!paths.includes("config.json")) {
    throw new ZerothError(`${name} has no config.json on the hub: it is not a model in Hugging Face's layout.`);
  }
  const weights = paths.filter((path) => SAFETENSORS.test(path));
  if (!weights.some((path) => path.endsWith(".safetensors"))) {
    throw new ZerothError(
      `${name} has no model.safetensors on the hub. Look for a copy of the model in that format, or as GGUF or ONNX.`,
    );
  }
  // Some repositories hold the model twice, whole and in shards.
  const whole = weights.filter((path) => path === "model.safetensors");
  return [...paths.filter((path) => SETTINGS.test(path)), ...(whole.length > 0 ? whole : weights)];
};

const graphFiles = ({ paths, spell }: Contents, graph: string): readonly string[] => {
  const has = (path: string): boolean => paths.includes(posix.normalize(path));
  const root = rootOf(graph, has);
  const missing = root === undefined ? `config.json or ${GENAI}` : "tokenizer.json";
  if (root === undefined || !has(`${root}/${missing}`)) {
    throw new ZerothError(
      `${spell(graph)} has no ${missing} beside it or in the folder above it.\nLook for another copy of the model.`,
    );
  }
  const isSetting = (name: string): boolean => name === GENAI || SETTINGS.test(name);
  return [
    ...paths.filter((path) => posix.dirname(path) === root && isSetting(posix.basename(path))),
    ...paths.filter((path) => path.startsWith(graph) && DATA.test(path.slice(graph.length))),
    // Last: where the graph is there, the rest is.
    graph,
  ];
};

/** @throws ZerothError for a file that the repository does not hold */
const checkHeld = ({ name, paths }: Contents, file: string): void => {
  if (paths.includes(file)) return;
  const kind = posix.extname(file);
  const others = paths.filter((path) => path.endsWith(kind)).sort();
  const held = others.length === 0 ? `It holds no ${kind} file.` : `It holds ${oneLine(others.join(", "), 2000)}.`;
  throw new ZerothError(`${name} has no ${file} on the hub.\n${held}`);
};

/**
 * What to fetch of a repository, in this order: settings, then weights.
 *
 * @param file the GGUF or ONNX file that is the model; none for safetensors
 * @throws ZerothError that names what the repository lacks
 */
export const filesOf = (contents: Contents, file: string | undefined): readonly string[] => {
  if (file === undefined) return safetensorsFiles(contents);
  // A GGUF has its configuration and its tokenizer in itself.
  const parts = shardsOf(file);
  for (const part of parts) checkHeld(contents, part);
  return file.endsWith(".gguf") ? parts : graphFiles(contents, file);
};
