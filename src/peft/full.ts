import { ZerothError } from "../errors.js";
import type { Parameter } from "../model/family.js";
import { oneLine } from "../one-line.js";
import { firstLayerOf, type Method } from "./method.js";

/**
 * These parameters of the model, in place; a tied embedding is one parameter.
 * @throws ZerothError where the model has some of them in blocks of few bits alone
 */
export const fullMethod = (parameters: readonly Parameter[]): Method => {
  const inBlocks = parameters.find(({ stored }) => stored === "blocks");
  if (inBlocks !== undefined)
    throw new ZerothError(
      `--method full trains floating-point weights, and the model has ${oneLine(inBlocks.name)} in blocks of few bits.\nGive its fp32 or fp16 file, or take --method lora.`,
      { kind: "usage" },
    );
  const own = parameters.filter(({ stored }) => stored === undefined);
  return {
    kind: "full",
    placement: "in-place",
    firstLayer: firstLayerOf(own),
    tensors: own.map(({ name, shape, layer, turned }) => ({
      ...{ name, shape, initial: { kind: "weights" } },
      ...(layer === undefined ? {} : { layer }),
      ...(turned === undefined ? {} : { turned }),
    })),
  };
};
