import { z } from "zod";
import { ZerothError } from "../errors.js";
import type { Parameter } from "../model/family.js";
import { defineMethod } from "./define.js";
import { ownTensors } from "./full.js";
import { firstLayerOf, type Method } from "./method.js";
import { inLayers, layers } from "./options.js";

const isBias = ({ name }: { readonly name: string }): boolean => name.endsWith(".bias");

/** The model's biases in copies, since they are small; an adapter holds them as they became, by the model's own names. */
const biasMethod = (biases: readonly Parameter[]): Method => ({
  kind: "bias",
  placement: "copies",
  firstLayer: firstLayerOf(biases),
  tensors: ownTensors(biases),
  merge: new Map(
    biases.map(({ name }) => [name, { from: [name], into: (bias, tuned) => bias.set(tuned ?? new Float32Array()) }]),
  ),
});

export const bias = defineMethod({
  name: "bias",
  summary: "every bias of the model (BitFit, arXiv 2106.10199)",
  options: { layers },
  tuning: { of: "full", learningRate: 100 },
  bind({ family, files }, { layers: range }) {
    const biases = inLayers(family, range).filter(isBias);
    if (biases.length > 0) return biasMethod(biases);
    throw new ZerothError(`--method bias: ${files.origin.spec} has no biases${range === null ? "" : " there"}.`, {
      kind: "usage",
    });
  },
  folder: {
    type: "BIAS",
    schema: z.looseObject({}),
    config: () => ({}),
    read: ({ family }, { tensors }) =>
      biasMethod(family.parameters.filter((parameter) => isBias(parameter) && tensors.has(parameter.name))),
  },
});
