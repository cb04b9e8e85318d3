import type { Builder } from "../../graph/builder.js";
import type { Dim, Value } from "../../graph/ir.js";
import { KEPT, type Remember } from "../decoding.js";
import type { Parts } from "../family.js";

/** Heads of a layer: `heads` query heads in groups that share one of `keyHeads` keys and values, each of `headSize` elements. */
export interface Heads {
  readonly heads: number;
  readonly keyHeads: number;
  readonly headSize: number;
}

/** The bins that a pack's tokens are in (`batch/bins.ts`). */
interface Bins {
  readonly slots: Value;
  readonly back: Value;
}

/**
 * Which tokens see which, by an additive mask: within bins of a pack's tokens (`batch/mask.ts`); or one row's next tokens, which see
 * what is remembered of those before them (`engine/decoding.ts`).
 */
export type Sight = { readonly mask: Value } & (
  | { readonly bins: Bins }
  /** Of several rows where `batch` says how many. */
  | { readonly remember: Remember; readonly batch?: Value | undefined }
);

/** The graph inputs of attention, each added when it is first asked for; masks by their names. */
export const sights = ({ g, remember, batch }: Pick<Parts, "g" | "remember" | "batch">): ((mask: string) => Sight) => {
  let bins: Bins | undefined;
  const masks = new Map<string, Value>();
  const maskOf = (name: string, shape: readonly Dim[]): Value => {
    const mask = masks.get(name) ?? g.input(name, "float32", shape);
    masks.set(name, mask);
    return mask;
  };
  return (name) => {
    if (remember !== undefined) return { remember, batch, mask: maskOf(name, [1, 1, 1, "T", KEPT]) };
    bins ??= { slots: g.input("slots", "int32", ["B", "L"]), back: g.input("back", "int32", ["T"]) };
    return { bins, mask: maskOf(name, ["B", 1, 1, "L", "L"]) };
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
 * softmax(q·kᵀ + mask)·v for every token of a pack, bin by bin, or of a row after those remembered. Queries are grouped by the key head that they share, so that keys
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
  sight: Sight,
  { heads, keyHeads, headSize }: Heads,
  { q, k, v }: { q: Value; k: Value; v: Value },
  name: string,
  { cap }: { readonly cap?: number | undefined } = {},
): Value => {
  /** A row's tokens by themselves. */
  const rows = (x: Value, dims: readonly number[]): Value => {
    const { batch = undefined } = "bins" in sight ? {} : sight;
    if (batch === undefined) return g.reshape(x, [1, -1, ...dims]);
    return g.op("Reshape", [x, g.op("Concat", [batch, g.constant([-1, ...dims])], { axis: 0 })]);
  };
  /** [B, L, keyHeads, group, size]; a row is one bin of all its tokens. */
  const binned = (x: Value, group: number): Value =>
    "bins" in sight
      ? g.reshape(g.op("Gather", [x, sight.bins.slots]), [0, 0, keyHeads, group, headSize])
      : rows(x, [keyHeads, group, headSize]);
  /** Keys [B, keyHeads, 1, size, L] and values [B, keyHeads, 1, L, size]; L counts what is remembered too. */
  const seen = (): readonly [keys: Value, values: Value] => {
    if ("bins" in sight)
      return [
        g.op("Transpose", [binned(k, 1)], { perm: [0, 2, 3, 4, 1] }),
        g.op("Transpose", [binned(v, 1)], { perm: [0, 2, 3, 1, 4] }),
      ];
    const byHead = (x: Value): Value => g.op("Transpose", [rows(x, [keyHeads, headSize])], { perm: [0, 2, 1, 3] });
    const all = sight.remember({ keys: byHead(k), values: byHead(v) });
    const grouped = (x: Value): Value => g.reshape(x, [0, 0, 1, -1, headSize]);
    return [g.op("Transpose", [grouped(all.keys)], { perm: [0, 1, 2, 4, 3] }), grouped(all.values)];
  };
  const queries = g.op("Transpose", [binned(q, heads / keyHeads)], { perm: [0, 2, 3, 1, 4] });
  const [keys, values] = seen();
  const scores = g.op("Add", [capped(g, g.op("MatMul", [queries, keys], {}, `${name}.scores`), cap), sight.mask]);
  const largest = g.op("ReduceMax", [scores, g.constant([-1])], { keepdims: 1 });
  const floor = g.op("Sub", [largest, g.constant(Float32Array.of(FLOOR), [1])]);
  const weights = g.op("Softmax", [g.op("Max", [scores, floor])], { axis: -1 });
  const mixed = g.op("MatMul", [weights, values], {}, `${name}.mixed`);
  const joined = g.reshape(g.op("Transpose", [mixed], { perm: [0, 3, 1, 2, 4] }), [-1, heads * headSize]);
  return "bins" in sight ? g.op("Gather", [joined, sight.bins.back]) : joined;
};
