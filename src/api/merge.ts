import { dtypeEncodings } from "../model/encodings.js";
import { mergedWeights } from "../peft/merged.js";
import { saveModel } from "../peft/save.js";
import type { Model } from "./load.js";
import { places } from "./places.js";
import type { MergeOptions, MergeResult } from "./types.js";

/**
 * Writes base and adapter as one model folder.
 * @throws ZerothError when the adapter does not fit the model, or `out` holds files already
 */
export const merge = async (model: Model, { adapter, out, dtype = "float32" }: MergeOptions): Promise<MergeResult> => {
  places.folder.check(out);
  const encoding = dtypeEncodings[dtype];
  const { parameters } = model.family;
  const merged = await mergedWeights(model, adapter, () => encoding);
  try {
    await saveModel(out, model.files, parameters, merged.read, encoding);
  } catch (error) {
    places.folder.clear(out);
    throw error;
  }
  return { out, tensors: parameters.length, survivingChanges: merged.survivingChanges() };
};
