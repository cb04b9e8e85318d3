import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../atomic.js";
import { type WritableEncoding, writers } from "../model/encodings.js";
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

/** Writes a whole model folder: weights in one safetensors file, configuration, tokenizer and what else went with it. */
export const saveModel = async (
  folder: string,
  model: OpenModel,
  tensors: readonly { readonly name: string; readonly shape: readonly number[] }[],
  read: Reader,
  dtype: WritableEncoding = "F32",
): Promise<void> => {
  await mkdir(folder, { recursive: true });
  const entries = tensors.map(({ name, shape }) => ({
    name,
    shape,
    dtype,
    bytes: () => encoded(read(name), dtype),
  }));
  // The weights first: they are what may fail, and a folder without a configuration is no model.
  await writeSafetensors(join(folder, "model.safetensors"), entries);
  for (const { name, content } of model.sidecars()) await writeFileAtomic(join(folder, name), content);
  const { torch_dtype: _, ...config } = model.config;
  await writeFileAtomic(
    join(folder, "config.json"),
    `${JSON.stringify({ ...config, dtype: configDtypes[dtype] }, null, 2)}\n`,
  );
};
