import { bindFamily } from "../model/families/index.js";
import type { RunnableModel } from "../model/onnx/imported.js";
import { type OpenModel, openModel } from "../model/open.js";
import { elementsIn } from "../model/weights.js";
import type { LoadOptions } from "./types.js";

/** A model on disk, opened: its files are known and checked, its weights are not read yet. */
export interface Model {
  readonly files: OpenModel;
  readonly family: RunnableModel;
  /** Number of parameters, a tied head counted once. */
  readonly parameters: number;
  /** What there is to know of how its files were read. */
  readonly notes: readonly string[];
}

/**
 * Opens a model: a Hugging Face folder, a `.gguf` or `.onnx` file (or a folder with one), or a hub id (`org/name`, `org/name@revision`, or
 * either with `:file.gguf` or `:onnx/model_q4.onnx` after it; downloaded into the standard Hugging Face cache once and used from there).
 *
 * @throws ZerothError that names the file and what is wrong with it, or lists the known families
 */
export const load = async (spec: string, options: LoadOptions = {}): Promise<Model> => {
  const files = await openModel(spec, options);
  const family = files.imported ?? bindFamily(files);
  const parameters = elementsIn(family.parameters.filter(({ stored }) => stored !== "part"));
  return { files, family, parameters, notes: files.imported?.notes ?? [] };
};
