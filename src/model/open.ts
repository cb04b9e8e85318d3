import { createHash } from "node:crypto";
import { closeSync, createReadStream, fstatSync, openSync, readSync, type Stats, statSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { writeFileAtomic } from "../atomic.js";
import { messageOf, ZerothError } from "../errors.js";
import { cacheFolder } from "./cache-folder.js";
import { chooseFile, contentsOf } from "./choose.js";
import { openFolder } from "./folder.js";
import { openGguf } from "./gguf/open.js";
import { fetchFromHub, isHubId, type Progress } from "./hub.js";
import { isJson, type Json } from "./json.js";
import type { ImportedModel } from "./onnx/imported.js";
import { openOnnx } from "./onnx/open.js";
import type { Tokenizer, TokenizerFiles } from "./tokenizer.js";
import type { TensorSource } from "./weights.js";

export interface Sidecar {
  readonly name: string;
  readonly content: Uint8Array;
}

/** A model whose files are found and checked; none of its weights is read. */
export interface OpenModel {
  readonly origin: { readonly spec: string; readonly kind: "folder" | "gguf" | "hub" | "onnx"; readonly path: string };
  /** As `config.json` has it; made from the metadata for a GGUF. */
  readonly config: Json;
  /** Where the configuration came from, for messages. */
  readonly configFile: string;
  /** By Hugging Face's names. */
  readonly weights: ReadonlyMap<string, TensorSource>;
  /** As `generation_config.json` has it; empty where there is none. */
  readonly generation: Json;
  /** Weight files, real paths; shards in the order of their names. */
  readonly files: readonly string[];
  /** Tensors of types that are not read, such as the positions 0, 1, 2, … that old files keep. */
  readonly unread?: ReadonlyMap<string, { readonly file: string; readonly dtype: string }>;
  readonly tokenizer: Tokenizer;
  /** Where the model came with a graph of its own: what is known of it. */
  readonly imported?: ImportedModel;
  /** What the tokenizer was made of. */
  readonly tokenizerFiles: TokenizerFiles;
  /** Files that go along when the model is written anew: tokenizer, template, generation settings. */
  sidecars(): readonly Sidecar[];
}

const GIVE =
  "Give a model folder, a .gguf or .onnx file or a hub id (org/name, or org/name:FILE for a .gguf or .onnx file of it).";

const statOf = (spec: string): Stats | undefined => {
  try {
    return statSync(spec, { throwIfNoEntry: false });
  } catch (error) {
    throw new ZerothError(`There is no model at ${JSON.stringify(spec)}: ${messageOf(error)}.\n${GIVE}`, {
      cause: error,
    });
  }
};

const openFile = (path: string, spec: string, folder?: string): OpenModel =>
  path.endsWith(".gguf") ? openGguf(path, { spec, kind: "gguf", path }, folder) : openOnnx(path, spec);

/** A folder that holds weights of its own is a folder; one that only holds a GGUF or an ONNX graph stands for it. */
const openPlace = async (spec: string): Promise<OpenModel> => {
  const file = await chooseFile(contentsOf(spec));
  if (file === undefined) return openFolder(spec, { spec, kind: "folder", path: spec });
  return openFile(join(spec, file), spec, spec);
};

/**
 * Opens a model folder, a `.gguf` file (or a folder with one, whose configuration and tokenizer files then go before the
 * GGUF's own), an `.onnx` file (or a folder in the layout of transformers.js, Optimum or ONNX Runtime GenAI), or a hub id:
 * `org/name`, `org/name@revision`, and either with `:file.gguf` or `:onnx/model_q4.onnx` after it for one file of several.
 *
 * @throws ZerothError that names what is missing or wrong
 */
export const openModel = async (
  spec: string,
  options: { readonly onProgress?: Progress | undefined } = {},
): Promise<OpenModel> => {
  const info = statOf(spec);
  if (info?.isDirectory()) return openPlace(spec);
  if (info !== undefined) {
    if (/\.(gguf|onnx)$/.test(spec)) return openFile(spec, spec);
    const whole = spec.endsWith(".safetensors") ? `Give the folder it is in: ${dirname(spec)}` : GIVE;
    throw new ZerothError(`${spec} is a file, not a model.\n${whole}`);
  }
  if (!isHubId(spec)) throw new ZerothError(`There is no model at ${JSON.stringify(spec)}.\n${GIVE}`);
  const { folder, file } = await fetchFromHub(spec, options.onProgress);
  if (file === undefined) return openFolder(folder, { spec, kind: "hub", path: folder });
  return openFile(join(folder, file), spec);
};

const MEBIBYTE = 2 ** 20;
const SAMPLES = 64;
const SAMPLE_BYTES = 4096;

/** The first mebibyte of a file, where headers are, and samples spread over the rest. */
const sketch = (file: string): Uint8Array => {
  const fd = openSync(file, "r");
  try {
    const { size } = fstatSync(fd);
    const hash = createHash("sha256").update(String(size));
    const add = (position: number, length: number): void => {
      const bytes = new Uint8Array(length);
      hash.update(bytes.subarray(0, readSync(fd, bytes, 0, length, position)));
    };
    add(0, MEBIBYTE);
    for (let i = 1; i <= SAMPLES; i++)
      add(Math.max(0, Math.floor((i / SAMPLES) * (size - SAMPLE_BYTES))), SAMPLE_BYTES);
    return hash.digest();
  } finally {
    closeSync(fd);
  }
};

/**
 * A quick hash of a model: its configuration, and sizes, headers and samples of its weight files. Tells models apart, tuned
 * ones of one base too; the proof that two are equal is `hashWeights`.
 *
 * @throws ZerothError when a weight file cannot be read
 */
export const fingerprint = ({ config, files }: OpenModel): string => {
  const hash = createHash("sha256").update(JSON.stringify(config));
  for (const file of files) {
    try {
      hash.update(sketch(file));
    } catch (error) {
      throw new ZerothError(`${file} cannot be read: ${messageOf(error)}.`, { cause: error });
    }
  }
  return hash.digest("hex");
};

const cacheFile = (): string => join(cacheFolder(), "hashes.json");

const readCache = async (): Promise<Readonly<Record<string, unknown>>> => {
  try {
    const value: unknown = JSON.parse(await readFile(cacheFile(), "utf8"));
    return isJson(value) ? value : {};
  } catch {
    return {};
  }
};

const sha256 = async (file: string, signal: AbortSignal | undefined): Promise<string> => {
  const hash = createHash("sha256");
  const stream = createReadStream(file, { highWaterMark: MEBIBYTE, ...(signal === undefined ? {} : { signal }) });
  for await (const chunk of stream) hash.update(chunk);
  return hash.digest("hex");
};

/**
 * SHA-256 of each weight file, by its position among them. Remembered by inode, size and time of change in
 * `~/.cache/zeroth/hashes.json` (`XDG_CACHE_HOME` counts), so a file is read once in its life. Reads in the background:
 * the event loop stays free between chunks of a mebibyte.
 *
 * @param options.signal stops early, with an AbortError
 */
export const hashWeights = async (
  { files }: OpenModel,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<Readonly<Record<string, string>>> => {
  const cache = await readCache();
  const keyed = files.map((file) => {
    const { dev, ino, size, mtimeNs } = statSync(file, { bigint: true });
    return { file, key: `${dev}:${ino}:${size}:${mtimeNs}` };
  });
  const hashes: Record<string, string> = {};
  const fresh: Record<string, string> = {};
  for (const [i, { file, key }] of keyed.entries()) {
    const known = cache[key];
    const hash = typeof known === "string" ? known : await sha256(file, options.signal);
    if (hash !== known) fresh[key] = hash;
    hashes[`weights ${i + 1} of ${files.length}`] = hash;
  }
  if (Object.keys(fresh).length > 0) {
    // A cache: if it cannot be written the hashes are computed again next time.
    await mkdir(dirname(cacheFile()), { recursive: true })
      .then(() => writeFileAtomic(cacheFile(), `${JSON.stringify({ ...cache, ...fresh }, null, 1)}\n`))
      .catch(() => undefined);
  }
  return hashes;
};
