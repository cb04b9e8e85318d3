import type { Builder } from "../../graph/builder.js";
import type { Dim, Value } from "../../graph/ir.js";
import { KEPT, type Remember } from "../decoding.js";
import type { Heads, KeysValues, Parts } from "../family.js";

/** The bins that a pack's tokens are in (`batch/bins.ts`). */
interface Bins {
  readonly slots: Value;
  readonly back: Value;
  /** The point that each bin is evaluated at, where several lie end to end: int32 [B]. */
  points(): Value;
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
  let point: Value | undefined;
  const masks = new Map<string, Value>();
  const maskOf = (name: string, shape: readonly Dim[]): Value => {
    const mask = masks.get(name) ?? g.input(name, "float32", shape);
    masks.set(name, mask);
    return mask;
  };
  return (name) => {
    if (remember !== undefined) return { remember, batch, mask: maskOf(name, [1, 1, 1, "T", KEPT]) };
    bins ??= {
      slots: g.input("slots", "int32", ["B", "L"]),
      back: g.input("back", "int32", ["T"]),
      points() {
        point ??= g.input("point", "int32", ["B"]);
        return point;
      },
    };
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
  parts: Pick<Parts, "g" | "attend">,
  sight: Sight,
  { heads, keyHeads, headSize }: Heads,
  { q, k, v }: KeysValues & { readonly q: Value },
  { name, layer, cap }: { readonly name: string; readonly layer: number; readonly cap?: number | undefined },
): Value => {
  const { g } = parts;
  const turned = (x: Value, perm: readonly number[]): Value => g.op("Transpose", [x], { perm });
  const [byToken, byElement] = [
    [0, 2, 3, 1, 4],
    [0, 2, 3, 4, 1],
  ] as const;
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
    if ("bins" in sight) return [turned(binned(k, 1), byElement), turned(binned(v, 1), byToken)];
    const byHead = (x: Value): Value => turned(rows(x, [keyHeads, headSize]), [0, 2, 1, 3]);
    const all = sight.remember({ keys: byHead(k), values: byHead(v) });
    const grouped = (x: Value): Value => g.reshape(x, [0, 0, 1, -1, headSize]);
    return [turned(grouped(all.keys), [0, 1, 2, 4, 3]), grouped(all.values)];
  };
  /** Each bin's copy of what its point has for all tokens: [B, P, keyHeads, 1, size]. A row that goes on is at one point. */
  const everywhere = (x: Value): Value => {
    const points = "bins" in sight ? sight.bins.points() : g.constant([0]);
    return g.op("Gather", [g.reshape(x, [0, 0, keyHeads, 1, headSize]), points]);
  };
  const queries = turned(binned(q, heads / keyHeads), byToken);
  const scoresOf = (keys: Value, at: string): Value => capped(g, g.op("MatMul", [queries, keys], {}, at), cap);
  const [keys, values] = seen();
  const own = { scores: g.op("Add", [scoresOf(keys, `${name}.scores`), sight.mask]), values };
  const shared = parts.attend?.(layer, { k, v });
  const all =
    shared === undefined
      ? own
      : {
          scores: g.op(
            "Concat",
            [scoresOf(turned(everywhere(shared.k), byElement), `${name}.shared_scores`), own.scores],
            { axis: -1 },
          ),
          values: g.op("Concat", [turned(everywhere(shared.v), byToken), own.values], { axis: -2 }),
        };
  const largest = g.op("ReduceMax", [all.scores, g.constant([-1])], { keepdims: 1 });
  const floor = g.op("Sub", [largest, g.constant(Float32Array.of(FLOOR), [1])]);
  const weights = g.op("Softmax", [g.op("Max", [all.scores, floor])], { axis: -1 });
  const mixed = g.op("MatMul", [weights, all.values], {}, `${name}.mixed`);
  const out = g.reshape(turned(mixed, [0, 3, 1, 2, 4]), [-1, heads * headSize]);
  return "bins" in sight ? g.op("Gather", [out, sight.bins.back]) : out;
};
