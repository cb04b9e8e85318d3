import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ZerothError } from "../errors.js";
import { dtypeEncodings } from "../model/encodings.js";
import { mergedWeights } from "../peft/merged.js";
import { saveModel } from "../peft/save.js";
import type { Model } from "./load.js";
import type { MergeOptions, MergeResult } from "./types.js";

/**
 * Writes base and adapter as one model folder.
 * @throws ZerothError when the adapter does not fit the model, or `out` holds files already
 */
export const merge = async (model: Model, { adapter, out, dtype = "float32" }: MergeOptions): Promise<MergeResult> => {
  if (existsSync(out) && readdirSync(out).length > 0) {
    throw new ZerothError(`--out ${out} is not empty.\nGive an empty or new folder.`, { kind: "usage" });
  }
  const encoding = dtypeEncodings[dtype];
  const { parameters } = model.family;
  const merged = await mergedWeights(model, adapter, () => encoding);
  try {
    await saveModel(out, model.files, parameters, merged.read, encoding);
  } catch (error) {
    // It was empty or not there: what is in it now is half a model.
    for (const name of existsSync(out) ? readdirSync(out) : [])
      rmSync(join(out, name), { recursive: true, force: true });
    throw error;
  }
  return { out, tensors: parameters.length, survivingChanges: merged.survivingChanges() };
};
