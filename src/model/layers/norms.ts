import type { Value } from "../../graph/ir.js";
import type { Parts } from "../family.js";
import { biased } from "./bias.js";

type NormParts = Pick<Parts, "g" | "weight">;

/**
 * x over its root mean square, times a weight: over the last axis, whose length the weight has.
 *
 * @param offset what is added to the stored weight: Gemma stores it less one
 */
export const rmsNorm = (
  { g, weight }: NormParts,
  x: Value,
  name: string,
  { epsilon, offset = 0 }: { readonly epsilon: number; readonly offset?: number },
): Value => {
  const stored = weight(`${name}.weight`);
  const scale = offset === 0 ? stored : g.op("Add", [stored, g.constant(Float32Array.of(offset), [1])]);
  return g.op("SimplifiedLayerNormalization", [x, scale], { axis: -1, epsilon: { float: epsilon } }, name);
};

/** x less its mean, over its deviation, times a weight, plus a bias. */
export const layerNorm = (
  parts: NormParts & Pick<Parts, "shift">,
  x: Value,
  name: string,
  { epsilon }: { readonly epsilon: number },
): Value =>
  biased(parts, `${name}.bias`, (bias) =>
    parts.g.op(
      "LayerNormalization",
      [x, parts.weight(`${name}.weight`), ...bias],
      { axis: -1, epsilon: { float: epsilon } },
      name,
    ),
  );
