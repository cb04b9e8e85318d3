import { createHash } from "node:crypto";
import { closeSync, createReadStream, openSync, readdirSync, readSync, statSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, join, resolve } from "node:path";
import { writeFileAtomic } from "../atomic.js";
import { ZerothError } from "../errors.js";
import { openFolder } from "./folder.js";
import { openGguf } from "./gguf.js";
import { fetchFromHub, isHubId, type Progress } from "./hub.js";
import type { Json } from "./json.js";
import type { Tokenizer } from "./tokenizer.js";
import type { TensorSource } from "./weights.js";

/** A model whose files are found and checked; none of its weights is read. */
export interface OpenModel {
  readonly origin: { readonly spec: string; readonly kind: "folder" | "gguf" | "hub"; readonly path: string };
  /** As `config.json` has it; made from the metadata for a GGUF. */
  readonly config: Json;
  /** Where the configuration came from, for messages. */
  readonly configFile: string;
  /** By Hugging Face's names. */
  readonly weights: ReadonlyMap<string, TensorSource>;
  /** Weight files, real paths. */
  readonly files: readonly string[];
  readonly tokenizer: Tokenizer;
  /** Files that go along when the model is written anew: tokenizer, template, generation settings. */
  sidecars(): readonly { readonly name: string; readonly content: Uint8Array }[];
}

/**
 * Opens a model folder, a `.gguf` file (or a folder with one), or a hub id.
 * @throws ZerothError that names what is missing or wrong
 */
export const openModel = async (
  spec: string,
  options: { onProgress?: Progress | undefined } = {},
): Promise<OpenModel> => {
  const info = statSync(spec, { throwIfNoEntry: false });
  if (info?.isDirectory()) {
    const names = readdirSync(spec);
    const ggufs = names.filter((name) => name.endsWith(".gguf"));
    const [only] = ggufs;
    // A folder that holds weights of its own is a folder; one that only holds a GGUF stands for it.
    const hasWeights = names.some((name) => name.endsWith(".safetensors") || name.endsWith(".safetensors.index.json"));
    if (only !== undefined && !hasWeights) {
      if (ggufs.length > 1)
        throw new ZerothError(`${spec} holds several GGUF files (${ggufs.join(", ")}).\nName the one to use.`);
      return openGguf(join(spec, only), { spec, kind: "gguf", path: join(spec, only) });
    }
    return openFolder(spec, { spec, kind: "folder", path: spec });
  }
  if (info !== undefined) {
    if (spec.endsWith(".gguf")) return openGguf(spec, { spec, kind: "gguf", path: spec });
    throw new ZerothError(
      `${spec} is a file that is not a model.\nGive a model folder, a .gguf file or a hub id (org/name).`,
    );
  }
  if (!isHubId(spec) || spec.endsWith(".gguf")) {
    throw new ZerothError(`There is no model at ${spec}.\nGive a model folder, a .gguf file or a hub id (org/name).`);
  }
  const folder = await fetchFromHub(spec, options.onProgress);
  return openFolder(folder, { spec, kind: "hub", path: folder });
};

const HEAD = 2 ** 20;

/** Hash of the weight files' sizes and first mebibytes (headers included): quick, and enough to tell models apart. */
export const fingerprint = ({ files }: OpenModel): string => {
  const hash = createHash("sha256");
  for (const file of [...files].sort((a, b) => (basename(a) < basename(b) ? -1 : 1))) {
    const fd = openSync(file, "r");
    try {
      const head = new Uint8Array(HEAD);
      const length = readSync(fd, head, 0, HEAD, 0);
      hash.update(`${statSync(file).size}:`).update(head.subarray(0, length));
    } finally {
      closeSync(fd);
    }
  }
  return hash.digest("hex");
};

const cacheFile = (): string => join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "zeroth", "hashes.json");

const readCache = async (): Promise<Record<string, string>> => {
  try {
    const value: unknown = JSON.parse(await readFile(cacheFile(), "utf8"));
    return typeof value === "object" && value !== null ? (value as Record<string, string>) : {};
  } catch {
    return {};
  }
};

/**
 * SHA-256 of each weight file, by its position among them; remembered by path, inode, size and time of change.
 * @param options.signal stops early, with an AbortError
 */
export const hashWeights = async (
  { files }: OpenModel,
  options: { signal?: AbortSignal } = {},
): Promise<Readonly<Record<string, string>>> => {
  const cache = await readCache();
  const hashes: Record<string, string> = {};
  let fresh = false;
  for (const [i, file] of files.entries()) {
    const { ino, size, mtimeMs } = statSync(file);
    const key = `${resolve(file)}|${ino}|${size}|${mtimeMs}`;
    const known = cache[key];
    const name = `weights ${i + 1} of ${files.length}`;
    if (typeof known === "string") {
      hashes[name] = known;
      continue;
    }
    const hash = createHash("sha256");
    const stream = createReadStream(file, {
      highWaterMark: HEAD,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    for await (const chunk of stream) hash.update(chunk as Uint8Array);
    hashes[name] = hash.digest("hex");
    cache[key] = hashes[name];
    fresh = true;
  }
  if (fresh) {
    // A cache: if it cannot be written the hashes are computed again next time.
    const folder = join(cacheFile(), "..");
    await mkdir(folder, { recursive: true })
      .then(() => writeFileAtomic(cacheFile(), `${JSON.stringify(cache, null, 1)}\n`))
      .catch(() => undefined);
  }
  return hashes;
};
