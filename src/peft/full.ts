import { ZerothError } from "../errors.js";
import type { Parameter } from "../model/family.js";
import { oneLine } from "../one-line.js";
import { defineMethod } from "./define.js";
import { firstLayerOf, type Method, type Trainable } from "./method.js";
import { inLayers, layers, pattern, text } from "./options.js";

/** Tensors of the model itself, as they are trained. */
export const ownTensors = (parameters: readonly Parameter[]): readonly Trainable[] =>
  parameters.map(({ name, shape, layer, turned }) => ({
    ...{ name, shape, initial: { kind: "weights" } },
    ...(layer === undefined ? {} : { layer }),
    ...(turned === undefined ? {} : { turned }),
  }));

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
  return { kind: "full", placement: "in-place", firstLayer: firstLayerOf(own), tensors: ownTensors(own) };
};

export const full = defineMethod({
  name: "full",
  summary: "the model's own weights, in place; the result is a whole model",
  options: {
    /** A regular expression on names of tensors, `"norm|bias"`. Default: all of them. */
    train: text(
      "--train <pattern>",
      'regular expression on the names of tensors, "norm|bias"',
      "all",
      pattern.nullable().default(null),
    ),
    layers,
  },
  tuning: { of: "full" },
  bind({ family }, { train, layers: range }) {
    const matches = new RegExp(train ?? "");
    const chosen = inLayers(family, range).filter(({ name }) => matches.test(name));
    if (chosen.length > 0) return fullMethod(chosen);
    const names = family.parameters.slice(-3).map(({ name }) => name);
    throw new ZerothError(
      `--train ${train}: no tensor of the model${range === null ? "" : " in these layers"} matches. Its tensors are named like ${names.join(", ")}.`,
      { kind: "usage" },
    );
  },
});
