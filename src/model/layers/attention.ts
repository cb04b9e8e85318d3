import type { Builder } from "../../graph/builder.js";
import type { Value } from "../../graph/ir.js";

/** Heads of a layer: `heads` query heads in groups that share one of `keyHeads` keys and values, each of `headSize` elements. */
export interface Heads {
  readonly heads: number;
  readonly keyHeads: number;
  readonly headSize: number;
}

/** Which tokens see which: bins of tokens (`batch/bins.ts`), and an additive mask in each (`batch/mask.ts`). */
export interface Sight {
  readonly slots: Value;
  readonly back: Value;
  readonly mask: Value;
}

/** The graph inputs of attention, each added when it is first asked for; masks by their names. */
export const sights = (g: Builder): ((mask: string) => Sight) => {
  let bins: Omit<Sight, "mask"> | undefined;
  const masks = new Map<string, Value>();
  return (name) => {
    bins ??= { slots: g.input("slots", "int32", ["B", "L"]), back: g.input("back", "int32", ["T"]) };
    const mask = masks.get(name) ?? g.input(name, "float32", ["B", 1, 1, "L", "L"]);
    masks.set(name, mask);
    return { ...bins, mask };
  };
};

/**
 * How far below a row's largest a score counts: exp(−60) is 10⁻²⁶ of the row's sum, nothing in fp32. What is masked out would otherwise come to
 * exp(−88) in the runtime, a number so small that processors leave their fast path for it: softmax took six times as long.
 */
const FLOOR = 60;

/** x held between −cap and cap, softly. */
export const capped = (g: Builder, x: Value, cap: number | undefined): Value => {
  if (cap === undefined) return x;
  const size = g.constant(Float32Array.of(cap), [1]);
  return g.op("Mul", [g.op("Tanh", [g.op("Div", [x, size])]), size]);
};

/**
 * softmax(q·kᵀ + mask)·v for every token of a pack, bin by bin. Queries are grouped by the key head that they share, so that keys
 * and values are never repeated.
 *
 * @param q [T, heads·size], scaled already
 * @param k [T, keyHeads·size]
 * @param v [T, keyHeads·size]
 * @param options.cap scores are held between −cap and cap by a hyperbolic tangent (Gemma 2)
 * @returns [T, heads·size]
 */
export const attention = (
  g: Builder,
  { slots, back, mask }: Sight,
  { heads, keyHeads, headSize }: Heads,
  { q, k, v }: { q: Value; k: Value; v: Value },
  name: string,
  { cap }: { readonly cap?: number | undefined } = {},
): Value => {
  /** [B, L, keyHeads, group, size] */
  const binned = (x: Value, group: number): Value =>
    g.reshape(g.op("Gather", [x, slots]), [0, 0, keyHeads, group, headSize]);
  const queries = g.op("Transpose", [binned(q, heads / keyHeads)], { perm: [0, 2, 3, 1, 4] });
  const keys = g.op("Transpose", [binned(k, 1)], { perm: [0, 2, 3, 4, 1] });
  const values = g.op("Transpose", [binned(v, 1)], { perm: [0, 2, 3, 1, 4] });
  const scores = g.op("Add", [capped(g, g.op("MatMul", [queries, keys], {}, `${name}.scores`), cap), mask]);
  const largest = g.op("ReduceMax", [scores, g.constant([-1])], { keepdims: 1 });
  const floor = g.op("Sub", [largest, g.constant(Float32Array.of(FLOOR), [1])]);
  const weights = g.op("Softmax", [g.op("Max", [scores, floor])], { axis: -1 });
  const mixed = g.op("MatMul", [weights, values], {}, `${name}.mixed`);
  const joined = g.reshape(g.op("Transpose", [mixed], { perm: [0, 3, 1, 2, 4] }), [-1, heads * headSize]);
  return g.op("Gather", [joined, back]);
};
