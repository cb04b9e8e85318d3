import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { WritableEncoding } from "../src/model/encodings.js";
import { openModel } from "../src/model/open.js";
import { readTensorSync } from "../src/model/weights.js";
import { saveModel } from "../src/peft/save.js";

/** The folder of test models and data. */
export const shared = process.env.ZEROTH_SHARED ?? resolve(fileURLToPath(new URL("../../shared", import.meta.url)));
export const missing = !existsSync(join(shared, "models"));
if (missing) console.warn(`Skipped: no test models at ${shared}. Set ZEROTH_SHARED.`);

export const smollm2 = join(shared, "models", "smollm2-135m-instruct");
export const smollm2Gguf = join(smollm2, "SmolLM2-135M-Instruct.Q4_1.gguf");

/** A folder that is gone when vitest's `onTestFinished` or `afterAll`, whichever is given, comes. */
export const scratchFolder = async (atTheEnd: (clean: () => Promise<void>) => void): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), "zeroth-real-"));
  atTheEnd(() => rm(folder, { recursive: true, force: true }));
  return folder;
};

/** SmolLM2 in the hub's layout, written from the GGUF (with the configuration and tokenizer beside it) into a new folder. */
export const writeHubFolder = async (out: string, dtype: WritableEncoding): Promise<string> => {
  const model = await openModel(smollm2);
  const tensors = [...model.weights.values()];
  const read = async (name: string): Promise<Float32Array> => {
    const source = model.weights.get(name);
    if (source === undefined) throw new Error(`no tensor ${name}`);
    return readTensorSync(source);
  };
  await saveModel(out, model, tensors, read, dtype);
  return out;
};
