import type { Value } from "../../graph/ir.js";
import type { Parts } from "../family.js";

/**
 * What a layer gives, [T, N], its bias [N] added.
 *
 * @param layer takes the bias in its own way; or none, where each point has its own, which is then added behind it
 * @param taken indices of the bias's elements that the layer is of, where it is not of all
 */
export const biased = (
  { g, weight, shift }: Pick<Parts, "g" | "weight" | "shift">,
  name: string,
  layer: (bias: readonly Value[]) => Value,
  taken?: Value,
): Value => {
  const added = shift?.(name, taken);
  if (added !== undefined) return added(layer([]));
  const whole = weight(name);
  return layer([taken === undefined ? whole : g.op("Gather", [whole, taken])]);
};
