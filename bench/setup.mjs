// What the benchmarks run on: SmolLM2-135M-Instruct as an fp32 hub folder (written by Zeroth from its GGUF) and SST-2 rows.
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { load } from "../dist/index.js";
import { readTensorSync } from "../dist/model/weights.js";
import { saveModel } from "../dist/peft/save.js";

export const root = fileURLToPath(new URL("..", import.meta.url));
export const shared = process.env.ZEROTH_SHARED ?? join(root, "..", "shared");
export const scratch = join(tmpdir(), "zeroth-bench");

/** Why the benchmarks cannot run, or undefined. */
export const missing = () =>
  existsSync(join(shared, "models/smollm2-135m-instruct")) ? undefined : `no models in ${shared}`;

export const gguf = join(shared, "models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf");

/** The model's fp32 folder, written once. */
export const modelFolder = async () => {
  const folder = join(scratch, "smollm2-135m-fp32");
  if (existsSync(join(folder, "model.safetensors"))) return folder;
  mkdirSync(scratch, { recursive: true });
  const partial = `${folder}.partial`;
  rmSync(partial, { recursive: true, force: true });
  const { files, family } = await load(join(shared, "models/smollm2-135m-instruct"));
  await saveModel(partial, files, family.parameters, async (name) => readTensorSync(files.weights.get(name)));
  renameSync(partial, folder);
  return folder;
};

/** A file of the first `count` SST-2 training rows: as long, and as unequal, as any batch of training is. */
export const rowsFile = (count) => {
  mkdirSync(scratch, { recursive: true });
  const file = join(scratch, `sst2-train-${count}.jsonl`);
  const lines = readFileSync(join(shared, "data/sst2/train.jsonl"), "utf8").split("\n").slice(0, count);
  writeFileSync(file, `${lines.join("\n")}\n`);
  return file;
};

export const machine = () => {
  const [first] = cpus();
  return `${cpus().length} × ${first?.model ?? "unknown processor"}, ${Math.round(totalmem() / 2 ** 30)} GiB, Node ${process.versions.node}, onnxruntime-node ${
    JSON.parse(readFileSync(join(root, "node_modules/onnxruntime-node/package.json"), "utf8")).version
  }`;
};

export const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
