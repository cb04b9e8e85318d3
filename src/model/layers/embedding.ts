import type { Value } from "../../graph/ir.js";
import type { Parts } from "../family.js";

/** Embeddings of a sequence's tokens [T, width], virtual ones among them; reads ids int32 [T]. */
export const embedTokens = (
  { g, rows, virtual }: Parts,
  { weight, scale = 1 }: { readonly weight: string; readonly scale?: number },
): Value => {
  const taken = rows(weight, g.input("ids", "int32", ["T"]));
  const scaled = scale === 1 ? taken : g.op("Mul", [taken, g.constant(Float32Array.of(scale), [1])]);
  return virtual?.(scaled) ?? scaled;
};
