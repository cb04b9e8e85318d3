import { z } from "zod";
import { ZerothError } from "../errors.js";
import type { Builder } from "../graph/builder.js";
import type { Value } from "../graph/ir.js";
import type { Parameter } from "../model/family.js";
import type { RunnableModel } from "../model/onnx/imported.js";
import { defineMethod } from "./define.js";
import { ownTensors } from "./full.js";
import { apart, firstLayerOf, type Method } from "./method.js";
import { inLayers, layers } from "./options.js";

const isBias = ({ name }: { readonly name: string }): boolean => name.endsWith(".bias");

/** To each point's tokens its own bias. */
const shift = (g: Builder, x: Value, bias: Value, taken?: Value): Value => {
  const own = taken === undefined ? bias : g.op("Gather", [bias, taken], { axis: 1 });
  const sum = g.op("Add", [apart(g, x, g.op("Shape", [x], { start: 1 })), g.reshape(own, [0, 1, -1])]);
  return g.op("Reshape", [sum, g.op("Shape", [x])]);
};

/** The model's biases in copies, since they are small; an adapter holds them as they became, by the model's own names. */
const biasMethod = (family: RunnableModel, biases: readonly Parameter[]): Method => ({
  kind: "bias",
  placement: "copies",
  firstLayer: firstLayerOf(biases),
  tensors: ownTensors(biases),
  // In a graph that came with its model a bias is the same for all.
  ...("imported" in family ? {} : { shift }),
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
    if (biases.length > 0) return biasMethod(family, biases);
    throw new ZerothError(`--method bias: ${files.origin.spec} has no biases${range === null ? "" : " there"}.`, {
      kind: "usage",
    });
  },
  folder: {
    type: "BIAS",
    schema: z.looseObject({}),
    config: () => ({}),
    read: ({ family }, { tensors }) =>
      biasMethod(
        family,
        family.parameters.filter((parameter) => isBias(parameter) && tensors.has(parameter.name)),
      ),
  },
});
