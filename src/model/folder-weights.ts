import { existsSync, readdirSync, realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ZerothError } from "../errors.js";
import { oneLine } from "../one-line.js";
import { isJson, type Json, readJson } from "./json.js";
import type { OpenModel } from "./open.js";
import { readSafetensorsHeader } from "./safetensors.js";
import type { TensorSource } from "./weights.js";

/* The weights of a folder in the hub's layout: one file, or shards that an index names. */
const WEIGHTS = "model.safetensors";
const INDEX = "model.safetensors.index.json";

/** A line for a shell that does what only Python can. */
export const python = (code: string, folder: string): string =>
  `python -c "import sys; ${code}" ${JSON.stringify(folder)}`;

/** What a folder without safetensors most likely is, and what to do about it. */
const noWeights = (folder: string): ZerothError => {
  const names = readdirSync(folder);
  if (names.some((name) => /^adapter_model\.(safetensors|bin)$/.test(name))) {
    return new ZerothError(`${folder} is an adapter. Give it with --adapter, and its base model with --model.`);
  }
  if (names.some((name) => /^pytorch_model.*\.bin$/.test(name))) {
    return new ZerothError(
      `${folder} holds pytorch_model.bin, a Python pickle, which may run code when read; Zeroth reads safetensors. Convert it once:\n${python(
        "import transformers as t; d = sys.argv[1]; getattr(t, t.AutoConfig.from_pretrained(d).architectures[0]).from_pretrained(d).save_pretrained(d)",
        folder,
      )}`,
    );
  }
  return new ZerothError(
    `${folder} holds no ${WEIGHTS} and no ${INDEX}.\nGive a model folder, a .gguf file or a hub id (org/name).`,
  );
};

/** Where a folder's files may really lie: in it or, of a hub's snapshot, among the blobs beside the snapshots. */
const homes = (folder: string): readonly string[] => {
  const real = realpathSync(folder);
  const snapshots = dirname(real);
  return basename(snapshots) === "snapshots" ? [real, join(dirname(snapshots), "blobs")] : [real];
};

/** The shards of an index, checked: each is there, and is a neighbour rather than a path or a link to somewhere else. */
const shardsOf = (folder: string): { names: readonly string[]; map: Json } => {
  const index = join(folder, INDEX);
  const map = readJson(index).weight_map;
  if (!isJson(map) || Object.keys(map).length === 0) throw new ZerothError(`${index} has no "weight_map".`);
  const names = [...new Set(Object.values(map))].map((name) => {
    if (typeof name !== "string" || name !== basename(name) || !name.endsWith(".safetensors")) {
      throw new ZerothError(
        `${index} names ${oneLine(JSON.stringify(name) ?? "nothing")} as a shard: not a .safetensors file beside it.`,
      );
    }
    return name;
  });
  const missing = names.filter((name) => !existsSync(join(folder, name)));
  if (missing.length > 0) {
    const some = missing
      .slice(0, 3)
      .map((name) => oneLine(name))
      .join(", ");
    const more = missing.length > 3 ? ` and ${missing.length - 3} more` : "";
    throw new ZerothError(
      `${folder} lacks ${some}${more}, which ${INDEX} names.\nThe download is incomplete: fetch it again.`,
    );
  }
  const allowed = homes(folder);
  for (const name of names) {
    const real = realpathSync(join(folder, name));
    if (!allowed.includes(dirname(real)))
      throw new ZerothError(
        `${join(folder, name)}, which ${INDEX} names, is a link out of its folder, to ${real}.\nCopy the file to where the link is, or give the folder that the shards are in.`,
      );
  }
  return { names: names.sort(), map };
};

/** The norms of BERT's first files have TensorFlow's names. */
const modern = (name: string): string =>
  name.replace(/LayerNorm\.gamma$/, "LayerNorm.weight").replace(/LayerNorm\.beta$/, "LayerNorm.bias");

export interface FolderWeights {
  /** Real paths. */
  readonly files: readonly string[];
  readonly weights: ReadonlyMap<string, TensorSource>;
  readonly unread: NonNullable<OpenModel["unread"]>;
}

const readFiles = (folder: string, names: readonly string[]): FolderWeights => {
  const unread = new Map<string, { file: string; dtype: string }>();
  const sources = names.flatMap((name) => {
    const file = join(folder, name);
    return readSafetensorsHeader(file, "weights", (tensor, dtype) => unread.set(modern(tensor), { file, dtype }));
  });
  return {
    files: [...new Set(sources.map(({ file }) => file))],
    weights: new Map(sources.map((source) => [modern(source.name), { ...source, name: modern(source.name) }])),
    unread,
  };
};

/** @throws ZerothError that names what is missing or wrong */
export const readWeights = (folder: string): FolderWeights => {
  if (existsSync(join(folder, WEIGHTS))) return readFiles(folder, [WEIGHTS]);
  if (!existsSync(join(folder, INDEX))) throw noWeights(folder);
  const { names, map } = shardsOf(folder);
  const read = readFiles(folder, names);
  const absent = Object.keys(map).find((name) => !read.weights.has(modern(name)) && !read.unread.has(modern(name)));
  if (absent !== undefined) {
    throw new ZerothError(
      `${join(folder, String(map[absent]))} lacks ${oneLine(absent)}, which ${INDEX} says it has.\nFetch both files again.`,
    );
  }
  return read;
};
