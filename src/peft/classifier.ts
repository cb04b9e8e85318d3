import type { Architecture } from "../model/family.js";
import { apart, type Merge, type Method, type Trainable } from "./method.js";

/* A classifier's own layers, trained whole beside an adapter as PEFT trains them (`modules_to_save`): their classes are what is new. */

const savedName = (name: string): string => `base_model.model.${name}`;

/** Whether a module, or a tensor of one, is the classifier's own. */
export const isClassifier = ({ classifier }: Architecture, name: string): boolean =>
  classifier !== undefined && (name === classifier || name.startsWith(`${classifier}.`));

/** A set of side paths with the classifier's layers, each in copies of its own. */
export const withClassifier = (method: Method, family: Architecture): Method => {
  const own = family.parameters.filter(({ name }) => isClassifier(family, name));
  const { merge, attach } = method;
  if (own.length === 0 || typeof merge === "string") return method;
  const shapes = new Map(own.map(({ name, shape }) => [name, shape]));
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
      const [weight, bias] = [`${module}.weight`, `${module}.bias`];
      const shape = shapes.get(weight);
      if (shape === undefined) return attach?.(g, module, x, base, tensor) ?? base;
      const [outputs = 0, inputs = 0] = shape;
      // What the base's weights would give is not asked for.
      const operands = [apart(g, x, inputs), tensor(savedName(weight))];
      const product = g.op("FusedMatMul", operands, { transB: 1 }, `${module}.own`);
      const sum = shapes.has(bias) ? g.op("Add", [product, g.reshape(tensor(savedName(bias)), [0, 1, -1])]) : product;
      return g.reshape(sum, [-1, outputs]);
    },
  };
};
