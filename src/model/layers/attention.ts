import type { Builder } from "../../graph/builder.js";
import type { Value } from "../../graph/ir.js";
import type { Heads, KeysValues, Parts } from "../family.js";

/** Which tokens see which: bins of tokens (`batch/bins.ts`), and an additive mask in each (`batch/mask.ts`). */
export interface Sight {
  readonly slots: Value;
  readonly back: Value;
  readonly mask: Value;
  /** The point that each bin is evaluated at, where several lie end to end: int32 [B]. */
  points(): Value;
}

/** The graph inputs of attention, each added when it is first asked for; masks by their names. */
export const sights = (g: Builder): ((mask: string) => Sight) => {
  let bins: Omit<Sight, "mask"> | undefined;
  let point: Value | undefined;
  const masks = new Map<string, Value>();
  return (name) => {
    bins ??= {
      slots: g.input("slots", "int32", ["B", "L"]),
      back: g.input("back", "int32", ["T"]),
      points() {
        point ??= g.input("point", "int32", ["B"]);
        return point;
      },
    };
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
  parts: Pick<Parts, "g" | "attend">,
  { slots, back, mask, points }: Sight,
  { heads, keyHeads, headSize }: Heads,
  { q, k, v }: KeysValues & { readonly q: Value },
  { name, layer, cap }: { readonly name: string; readonly layer: number; readonly cap?: number | undefined },
): Value => {
  const { g } = parts;
  /** [B, L, keyHeads, group, size] */
  const binned = (x: Value, group: number): Value =>
    g.reshape(g.op("Gather", [x, slots]), [0, 0, keyHeads, group, headSize]);
  const turned = (x: Value, perm: readonly number[]): Value => g.op("Transpose", [x], { perm });
  /** Each bin's copy of what its point has for all tokens: [B, P, keyHeads, 1, size]. */
  const everywhere = (x: Value): Value => g.op("Gather", [g.reshape(x, [0, 0, keyHeads, 1, headSize]), points()]);
  const [byToken, byElement] = [
    [0, 2, 3, 1, 4],
    [0, 2, 3, 4, 1],
  ] as const;
  const queries = turned(binned(q, heads / keyHeads), byToken);
  const scoresOf = (keys: Value, at: string): Value =>
    capped(g, g.op("MatMul", [queries, turned(keys, byElement)], {}, at), cap);
  const own = {
    scores: g.op("Add", [scoresOf(binned(k, 1), `${name}.scores`), mask]),
    values: turned(binned(v, 1), byToken),
  };
  const shared = parts.attend?.(layer, { k, v });
  const joined = (first: Value | undefined, last: Value, axis: number): Value =>
    first === undefined ? last : g.op("Concat", [first, last], { axis });
  const scores = joined(shared && scoresOf(everywhere(shared.k), `${name}.shared_scores`), own.scores, -1);
  const values = joined(shared && turned(everywhere(shared.v), byToken), own.values, -2);
  const largest = g.op("ReduceMax", [scores, g.constant([-1])], { keepdims: 1 });
  const floor = g.op("Sub", [largest, g.constant(Float32Array.of(FLOOR), [1])]);
  const weights = g.op("Softmax", [g.op("Max", [scores, floor])], { axis: -1 });
  const mixed = g.op("MatMul", [weights, values], {}, `${name}.mixed`);
  const rows = g.reshape(turned(mixed, [0, 3, 1, 2, 4]), [-1, heads * headSize]);
  return g.op("Gather", [rows, back]);
};
