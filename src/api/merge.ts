import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ZerothError } from "../errors.js";
import { encodings, type WritableEncoding, writers } from "../model/encodings.js";
import { readTensorSync } from "../model/weights.js";
import { ADAPTER_CONFIG, readAdapter } from "../peft/adapter.js";
import type { Merge } from "../peft/method.js";
import { type Reader, saveModel } from "../peft/save.js";
import { load, type Model } from "./load.js";
import type { MergeOptions, MergeResult } from "./types.js";

const dtypes: Readonly<Record<NonNullable<MergeOptions["dtype"]>, WritableEncoding>> = {
  float32: "F32",
  float16: "F16",
  bfloat16: "BF16",
};

/** Through a narrower type and back. */
const narrowed = (data: Float32Array, dtype: WritableEncoding): Float32Array => {
  if (dtype === "F32") return data;
  const out = new Float32Array(data.length);
  encodings[dtype].decode(writers[dtype](data), out);
  return out;
};

/** Counts weights that a change moved, and those that the type they are written in still shows as moved. */
const changeCounter = (dtype: WritableEncoding) => {
  let changed = 0;
  let survived = 0;
  return {
    count(before: Float32Array, after: Float32Array): void {
      const [rounded, tuned] = [narrowed(before, dtype), narrowed(after, dtype)];
      for (let i = 0; i < before.length; i++) {
        if (before[i] === after[i]) continue;
        changed++;
        if (rounded[i] !== tuned[i]) survived++;
      }
    },
    fraction: () => (changed === 0 ? 1 : survived / changed),
  };
};

/** The merged weights of an adapter, tensor by tensor. @throws ZerothError where there is no merged model */
const adapterReader = (model: Model, adapter: string, changes: ReturnType<typeof changeCounter>): Reader => {
  const { method, tensors } = readAdapter(adapter, model);
  const { merge: merges = new Map<string, Merge>() } = method;
  if (typeof merges === "string")
    throw new ZerothError(
      `${adapter} cannot be merged: ${merges}.\nUse it beside the model: --adapter ${adapter} with evaluate and predict.`,
    );
  const blocked = model.family.parameters.find(({ name, stored }) => stored !== undefined && merges.has(name));
  if (blocked !== undefined)
    throw new ZerothError(
      `${model.files.origin.spec} has no tensor of floats for ${blocked.name}, so nothing can be merged into it.\nGive --adapter where the model is used, or the fp32 or fp16 file of the model.`,
    );
  const sourceOf = (sources: typeof tensors, name: string) => {
    const source = sources.get(name);
    if (source === undefined) throw new Error(`no tensor ${name}`);
    return readTensorSync(source);
  };
  return async (name) => {
    const weight = sourceOf(model.files.weights, name);
    const own = merges.get(name);
    if (own === undefined) return weight;
    const before = weight.slice();
    own.into(weight, ...own.from.map((tensor) => sourceOf(tensors, tensor)));
    changes.count(before, weight);
    return weight;
  };
};

/** The weights of a model folder that `full` wrote, in the place of the base's. */
const fullReader = async (model: Model, folder: string, changes: ReturnType<typeof changeCounter>): Promise<Reader> => {
  const tuned = await load(folder);
  const pairs = new Map(
    model.family.parameters.map(({ name }) => {
      const [before, after] = [model.files.weights.get(name), tuned.files.weights.get(name)];
      if (before === undefined || after === undefined || String(before.shape) !== String(after.shape)) {
        throw new ZerothError(`${folder} is not a tuned form of ${model.files.origin.spec}: they differ in ${name}.`);
      }
      return [name, { before, after }];
    }),
  );
  return async (name) => {
    const pair = pairs.get(name);
    if (pair === undefined) throw new Error(`no tensor ${name}`);
    const weight = readTensorSync(pair.after);
    changes.count(readTensorSync(pair.before), weight);
    return weight;
  };
};

/**
 * Writes base and adapter as one model folder.
 * @throws ZerothError when the adapter does not fit the model, or `out` holds files already
 */
export const merge = async (model: Model, { adapter, out, dtype = "float32" }: MergeOptions): Promise<MergeResult> => {
  if (existsSync(out) && readdirSync(out).length > 0) {
    throw new ZerothError(`--out ${out} is not empty.\nGive an empty or new folder.`, { kind: "usage" });
  }
  const encoding = dtypes[dtype];
  const changes = changeCounter(encoding);
  const isAdapter = existsSync(join(adapter, ADAPTER_CONFIG));
  if (!isAdapter && !existsSync(join(adapter, "config.json"))) {
    throw new ZerothError(`${adapter} holds neither an adapter (${ADAPTER_CONFIG}) nor a model (config.json).`);
  }
  const read = isAdapter ? adapterReader(model, adapter, changes) : await fullReader(model, adapter, changes);
  const { parameters } = model.family;
  try {
    await saveModel(out, model.files, parameters, read, encoding);
  } catch (error) {
    // It was empty or not there: what is in it now is half a model.
    for (const name of existsSync(out) ? readdirSync(out) : [])
      rmSync(join(out, name), { recursive: true, force: true });
    throw error;
  }
  return { out, tensors: parameters.length, survivingChanges: changes.fraction() };
};
