import { closeSync, openSync, readSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { writeFileAtomic } from "../../atomic.js";
import { ZerothError } from "../../errors.js";
import type { Initializer } from "../../graph/ir.js";
import { encodeModel } from "../../graph/onnx.js";
import type { Place } from "./file.js";
import type { ImportedGraph } from "./imported.js";

const PIECE = 2 ** 20;
const ALIGNMENT = 64;

/** A stretch of a file, a piece at a time. @throws ZerothError when the file is shorter */
export function* stretchOf({ location, offset, length }: Place): Generator<Uint8Array<ArrayBuffer>> {
  const fd = openSync(location, "r");
  try {
    for (let done = 0; done < length; ) {
      const piece = new Uint8Array(Math.min(PIECE, length - done));
      const read = readSync(fd, piece, 0, piece.length, offset + done);
      if (read === 0) throw new ZerothError(`${location} is cut short: fetch or copy it again.`);
      yield piece.subarray(0, read);
      done += read;
    }
  } finally {
    closeSync(fd);
  }
}

/** What an ONNX file is called in a model's folder: transformers.js looks in `onnx/`. */
const nameOf = (path: string): string =>
  basename(dirname(path)) === "onnx" ? join("onnx", basename(path)) : basename(path);

/**
 * Writes a graph as the file had it, with other values for its parameters, and all its larger tensors in one file beside it.
 *
 * @param valuesOf a parameter's bytes, in the type that the graph has for it
 */
export const writeOnnx = async (
  folder: string,
  { path, original, names }: ImportedGraph,
  valuesOf: (parameter: string, dtype: number) => AsyncIterable<Uint8Array>,
): Promise<void> => {
  const file = join(folder, nameOf(path));
  const data = `${basename(file)}_data`;
  const parameterOf = new Map([...names].map(([parameter, initializer]) => [initializer, parameter]));
  let at = 0;
  const planned = original.graph.initializers.map((tensor) => {
    const place = tensor.data !== undefined && "external" in tensor.data ? tensor.data.external : undefined;
    const raw = tensor.data !== undefined && "raw" in tensor.data ? tensor.data.raw : undefined;
    const parameter = parameterOf.get(tensor.name);
    if (place === undefined && (parameter === undefined || raw === undefined)) return { tensor };
    const length = place?.length ?? raw?.length ?? 0;
    const offset = Math.ceil(at / ALIGNMENT) * ALIGNMENT;
    at = offset + length;
    const moved: Initializer = { ...tensor, data: { external: { location: data, offset, length } } };
    const from = place === undefined ? undefined : { location: place.location, offset: place.offset ?? 0, length };
    return { tensor: moved, bytes: { offset, length, parameter, from } };
  });
  async function* content(): AsyncGenerator<Uint8Array> {
    let written = 0;
    for (const { tensor, bytes } of planned) {
      if (bytes === undefined) continue;
      if (bytes.offset > written) yield new Uint8Array(bytes.offset - written);
      if (bytes.parameter !== undefined) yield* valuesOf(bytes.parameter, tensor.dtype);
      else if (bytes.from !== undefined) yield* stretchOf(bytes.from);
      written = bytes.offset + bytes.length;
    }
  }
  await mkdir(dirname(file), { recursive: true });
  // The graph last: without it a folder is no model.
  await writeFileAtomic(join(dirname(file), data), content());
  const initializers = planned.map(({ tensor }) => tensor);
  await writeFileAtomic(file, encodeModel({ ...original, graph: { ...original.graph, initializers } }));
};
