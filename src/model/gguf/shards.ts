import { existsSync } from "node:fs";
import { ZerothError } from "../../errors.js";
import { oneLine } from "../../one-line.js";
import type { TensorSource } from "../weights.js";
import { type GgufMetadata, readGguf } from "./file.js";

/* A model split over several files, as llama.cpp's gguf-split leaves it: the first says what is said of the whole. */

const SHARD = /^(.*-)\d{5}-of-(\d{5})\.gguf$/s;

/** The files of the model that a GGUF belongs to, in order, by its name: `name-00001-of-00003.gguf` and so on; or it alone. */
export const shardsOf = (path: string): readonly string[] => {
  const [, stem, count] = SHARD.exec(path) ?? [];
  if (stem === undefined || Number(count) === 0) return [path];
  return Array.from({ length: Number(count) }, (_, i) => `${stem}${String(i + 1).padStart(5, "0")}-of-${count}.gguf`);
};

/**
 * A GGUF's metadata and where its tensors lie: of all of its files.
 *
 * @throws ZerothError that names the file which is missing, damaged, or of another model
 */
export const readShards = (path: string): { metadata: GgufMetadata; tensors: readonly TensorSource[] } => {
  const files = shardsOf(path);
  const missing = files.find((file) => !existsSync(file));
  if (missing !== undefined && files.length > 1)
    throw new ZerothError(
      `${missing} is missing: the model is split over ${files.length} files, which are needed in one folder.`,
    );
  const shards = files.map((file, i) => {
    const { metadata, tensors } = readGguf(file);
    const [number, count] = [metadata.get("split.no") ?? 0, metadata.get("split.count") ?? 1];
    // A file that is split into one says 1, or 0.
    if (number !== i || Math.max(1, Number(count)) !== files.length)
      throw new ZerothError(
        `${file} says that it is part ${oneLine(String(Number(number) + 1), 20)} of ${oneLine(String(count), 20)} of a model.\nKeep the names that the parts were given, such as model-00001-of-00003.gguf, and all of them in one folder.`,
      );
    return { metadata, tensors };
  });
  const tensors = shards.flatMap((shard) => shard.tensors);
  const { metadata } = shards[0] ?? { metadata: new Map() };
  const expected = metadata.get("split.tensors.count") ?? tensors.length;
  const names = new Set(tensors.map(({ name }) => name));
  if (names.size < tensors.length || expected !== tensors.length)
    throw new ZerothError(
      `${path}: its ${files.length} files hold ${names.size} tensors under ${tensors.length} names, and the first says ${oneLine(String(expected), 20)}.\nFetch them again, from one place.`,
    );
  return { metadata, tensors };
};
