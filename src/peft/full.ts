import type { Parameter } from "../model/family.js";
import { firstLayerOf, type Method } from "./method.js";

/** These parameters of the model, in place; a tied embedding is one parameter. */
export const fullMethod = (parameters: readonly Parameter[]): Method => ({
  kind: "full",
  placement: "in-place",
  firstLayer: firstLayerOf(parameters),
  tensors: parameters.map(({ name, shape, layer, turned }) => ({
    ...{ name, shape, initial: { kind: "weights" } },
    ...(layer === undefined ? {} : { layer }),
    ...(turned === undefined ? {} : { turned }),
  })),
});
