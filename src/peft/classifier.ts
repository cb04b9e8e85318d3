import type { Architecture, Parameter } from "../model/family.js";
import { type Merge, type Method, moduleOf, POINTS, type Trainable } from "./method.js";

/* A classifier's own layers, trained whole beside an adapter as PEFT trains them (`modules_to_save`): their classes are what is new. */

const savedName = (name: string): string => `base_model.model.${name}`;

/** Weights and biases of the classifier; none where the model is none. */
const classifierOf = ({ classifier, parameters }: Architecture): readonly Parameter[] =>
  classifier === undefined ? [] : parameters.filter(({ name }) => name.startsWith(`${classifier}.`));

/** A set of side paths with the classifier's layers, each in copies of its own. */
export const withClassifier = (method: Method, family: Architecture): Method => {
  const own = classifierOf(family);
  const { merge, attach } = method;
  if (own.length === 0 || typeof merge === "string") return method;
  const names = new Set(own.map(({ name }) => name));
  const sizes = new Map(own.map((parameter) => [moduleOf(parameter), parameter.shape]));
  return {
    ...method,
    tensors: [
      ...method.tensors,
      ...own.map(
        ({ name, shape }): Trainable => ({ name: savedName(name), shape, initial: { kind: "weights", of: name } }),
      ),
    ],
    merge: new Map<string, Merge>([
      ...(merge ?? []),
      ...own.map(({ name }): [string, Merge] => [
        name,
        { from: [savedName(name)], into: (weight, tuned = weight) => weight.set(tuned) },
      ]),
    ]),
    attach(g, module, x, base, tensor) {
      const [outputs = 0, inputs = 0] = sizes.get(module) ?? [];
      if (!names.has(`${module}.weight`)) return attach?.(g, module, x, base, tensor) ?? base;
      // Each point's rows meet its own weights; what the base's would give is not asked for.
      const apart = g.op("Reshape", [x, g.op("Concat", [g.size(POINTS), g.constant([-1, inputs])], { axis: 0 })]);
      const product = g.op(
        "FusedMatMul",
        [apart, tensor(savedName(`${module}.weight`))],
        { transB: 1 },
        `${module}.own`,
      );
      const bias = names.has(`${module}.bias`) ? tensor(savedName(`${module}.bias`)) : undefined;
      const sum = bias === undefined ? product : g.op("Add", [product, g.reshape(bias, [0, 1, -1])]);
      return g.reshape(sum, [-1, outputs]);
    },
  };
};

/** Whether a module is one of the classifier's layers. */
export const isClassifier = ({ classifier }: Architecture, module: string): boolean =>
  classifier !== undefined && (module === classifier || module.startsWith(`${classifier}.`));
