import type { Parameter } from "../model/family.js";
import { defineMethod } from "./define.js";
import { firstLayerOf, type Method } from "./method.js";
import { inLayers, layers } from "./options.js";

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

export const full = defineMethod({
  name: "full",
  summary: "every parameter of the model, or of some of its blocks; the result is a whole model",
  options: { layers },
  tuning: { of: "full" },
  bind: ({ family }, { layers: range }) => fullMethod(inLayers(family, range)),
});
