import { ZerothError } from "../errors.js";
import type { BoundFamily } from "../model/family.js";
import type { Base } from "./define.js";

/**
 * The architecture of a model whose graph is built here: what virtual tokens and adapters between blocks need to know.
 * @throws ZerothError (usage) for a model that came with its graph
 */
export const builtHere = ({ family }: Base): BoundFamily => {
  if (!("imported" in family)) return family;
  throw new ZerothError(
    "This method changes the graph inside its blocks, and an ONNX model comes with its own.\nTrain --method lora, or start from the model's safetensors.",
    { kind: "usage" },
  );
};
