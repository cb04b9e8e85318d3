import { existsSync } from "node:fs";
import { join } from "node:path";
import { ZerothError } from "../errors.js";
import { encodings, type WritableEncoding, writers } from "../model/encodings.js";
import { openModel } from "../model/open.js";
import { readTensorSync, type TensorSource } from "../model/weights.js";
import { ADAPTER_CONFIG, isAdapter, readAdapter } from "./adapter.js";
import type { Base } from "./define.js";
import type { Merge } from "./method.js";

/** A model's weights with an adapter worked in, tensor by tensor. */
export interface Merged {
  readonly read: (name: string) => Promise<Float32Array>;
  /** Of the weights that the adapter changed in what was read, the fraction still changed after rounding. */
  readonly survivingChanges: () => number;
}

/** Through a narrower type and back. */
const narrowed = (data: Float32Array, dtype: WritableEncoding): Float32Array => {
  if (dtype === "F32") return data;
  const out = new Float32Array(data.length);
  encodings[dtype].decode(writers[dtype](data), out);
  return out;
};

/** Counts weights that a change moved, and those that the type they are written in still shows as moved. */
const changeCounter = () => {
  let changed = 0;
  let survived = 0;
  return {
    count(before: Float32Array, after: Float32Array, dtype: WritableEncoding): void {
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

const sourceOf = (sources: ReadonlyMap<string, TensorSource>, name: string): Float32Array<ArrayBuffer> => {
  const source = sources.get(name);
  if (source === undefined) throw new Error(`no tensor ${name}`);
  return readTensorSync(source);
};

/** A tensor before and after. */
type Change = (name: string) => { readonly before: Float32Array; readonly after: Float32Array };

const adapterChange = (base: Base, adapter: string): Change => {
  const { method, tensors } = readAdapter(adapter, base);
  const { merge: merges = new Map<string, Merge>() } = method;
  if (typeof merges === "string")
    throw new ZerothError(
      `${adapter} cannot be merged: ${merges}.\nUse it beside the model: --adapter ${adapter} with evaluate and predict.`,
    );
  const { files, family } = base;
  const blocked = family.parameters.find(({ name, stored }) => stored !== undefined && merges.has(name));
  if (blocked !== undefined)
    throw new ZerothError(
      `${files.origin.spec} has no tensor of floats for ${blocked.name}, so nothing can be merged into it.\nGive --adapter where the model is used, or the fp32 or fp16 file of the model.`,
    );
  return (name) => {
    const after = sourceOf(files.weights, name);
    const own = merges.get(name);
    if (own === undefined) return { before: after, after };
    const before = after.slice();
    own.into(after, ...own.from.map((tensor) => sourceOf(tensors, tensor)));
    return { before, after };
  };
};

/** The weights of a model folder that `full` wrote, in the place of the base's. */
const fullChange = async ({ files: model, family }: Base, folder: string): Promise<Change> => {
  const tuned = await openModel(folder);
  for (const { name } of family.parameters) {
    const [before, after] = [model.weights.get(name), tuned.weights.get(name)];
    if (before === undefined || after === undefined || String(before.shape) !== String(after.shape)) {
      throw new ZerothError(`${folder} is not a tuned form of ${model.origin.spec}: they differ in ${name}.`);
    }
  }
  return (name) => ({ before: sourceOf(model.weights, name), after: sourceOf(tuned.weights, name) });
};

/**
 * Base and adapter as one model: a PEFT adapter is added to the weights, a model folder's weights take the base's place.
 *
 * @param adapter none: the model as it is
 * @param dtypeOf what each tensor will be written as, for the count of changes that survive
 * @throws ZerothError when the adapter does not fit the model
 */
export const mergedWeights = async (
  base: Base,
  adapter: string | undefined,
  dtypeOf: (name: string) => WritableEncoding,
): Promise<Merged> => {
  if (adapter === undefined)
    return { read: async (name) => sourceOf(base.files.weights, name), survivingChanges: () => 1 };
  if (!isAdapter(adapter) && !existsSync(join(adapter, "config.json"))) {
    throw new ZerothError(`${adapter} holds neither an adapter (${ADAPTER_CONFIG}) nor a model (config.json).`);
  }
  const change = isAdapter(adapter) ? adapterChange(base, adapter) : await fullChange(base, adapter);
  const changes = changeCounter();
  return {
    async read(name) {
      const { before, after } = change(name);
      if (before !== after) changes.count(before, after, dtypeOf(name));
      return after;
    },
    survivingChanges: changes.fraction,
  };
};
