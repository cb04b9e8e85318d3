import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../atomic.js";
import { type WritableEncoding, writers } from "../model/encodings.js";
import type { Json } from "../model/json.js";
import { writeOnnx } from "../model/onnx/write.js";
import type { OpenModel } from "../model/open.js";
import { writeSafetensors } from "../model/safetensors.js";

/** Reads a tensor's values out of wherever they live, whole or a piece at a time. */
export type Reader = (name: string) => Promise<Float32Array> | AsyncIterable<Float32Array>;

/** A tensor's bytes in the type that they are saved in. */
export async function* encoded(values: ReturnType<Reader>, dtype: WritableEncoding): AsyncGenerator<Uint8Array> {
  const given = await values;
  for await (const piece of given instanceof Float32Array ? [given] : given) yield writers[dtype](piece);
}

/** Names of dtypes as `config.json` has them. */
const configDtypes: Readonly<Record<WritableEncoding, string>> = { F32: "float32", F16: "float16", BF16: "bfloat16" };

const settingsFiles = async (folder: string, model: OpenModel, config: Json): Promise<void> => {
  for (const { name, content } of model.sidecars()) await writeFileAtomic(join(folder, name), content);
  await writeFileAtomic(join(folder, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
};

/** ONNX's numbers of the types that weights are saved in. */
const onnxDtypes: Readonly<Record<number, WritableEncoding>> = { 1: "F32", 10: "F16", 16: "BF16" };

/**
 * Writes a whole model folder: weights in one safetensors file, configuration, tokenizer and what else went with it. A model that came
 * with a graph of its own keeps that, and the types it has.
 */
export const saveModel = async (
  folder: string,
  model: OpenModel,
  tensors: readonly { readonly name: string; readonly shape: readonly number[] }[],
  read: Reader,
  dtype: WritableEncoding = "F32",
): Promise<void> => {
  await mkdir(folder, { recursive: true });
  if (model.imported !== undefined) {
    await settingsFiles(folder, model, model.config);
    return writeOnnx(folder, model.imported.imported, (name, type) => encoded(read(name), onnxDtypes[type] ?? "F32"));
  }
  const entries = tensors.map(({ name, shape }) => ({
    name,
    shape,
    dtype,
    bytes: () => encoded(read(name), dtype),
  }));
  // The weights first: they are what may fail, and a folder without a configuration is no model.
  await writeSafetensors(join(folder, "model.safetensors"), entries);
  const { torch_dtype: _, ...config } = model.config;
  await settingsFiles(folder, model, { ...config, dtype: configDtypes[dtype] });
};
