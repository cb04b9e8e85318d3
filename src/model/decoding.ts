import type { Builder } from "../graph/builder.js";
import { sumOf } from "../graph/dims.js";
import type { Dim, Value } from "../graph/ir.js";

/** Keys and values of one block's attention, [1, keyHeads, tokens, size] each. */
export interface KeysAndValues {
  readonly keys: Value;
  readonly values: Value;
}

/** Keys and values of a block's new tokens → those of every token so far. Called once a block, in the order of blocks. */
export type Remember = (fresh: KeysAndValues) => KeysAndValues;

/** What graphs call the number of earlier tokens, and of all of them. */
const PAST = "past";
export const keptAfter = (tokens: Dim): Dim => sumOf([PAST, tokens]);
export const KEPT = keptAfter("T");

/* Names of caches, as the hub's exported graphs have them: `past_key_values.0.key` goes in, and comes out longer as `present.0.key`. */
const INPUT = "past_key_values.";
const RESULT = "present.";

/** The cache inputs of a decoding graph that some of its outputs are the next run's, by the outputs' names. */
export const nextCaches = <T>(outputs: Readonly<Record<string, T>>): Readonly<Record<string, T>> =>
  Object.fromEntries(
    Object.entries(outputs).flatMap(([name, value]) =>
      name.startsWith(RESULT) ? [[`${INPUT}${name.slice(RESULT.length)}`, value]] : [],
    ),
  );
export const isCache = (input: string): boolean => input.startsWith(INPUT);

/**
 * Makes a graph one that goes on with a row: keys and values of the tokens before are inputs, [1, keyHeads, past, size] a block, and
 * those of all tokens are outputs, [1, keyHeads, past + T, size], which are the next run's inputs. No family knows of it.
 */
export const remembering = (g: Builder): Remember => {
  let layer = 0;
  return ({ keys, values }) => {
    const joined = (fresh: Value, kind: "key" | "value"): Value => {
      const name = `${layer}.${kind}`;
      const [one = 1, heads = 0, , size = 0] = fresh.shape;
      const earlier = g.input(`${INPUT}${name}`, fresh.dtype, [one, heads, PAST, size]);
      const all = g.op("Concat", [earlier, fresh], { axis: 2 }, `${INPUT}${name}.joined`);
      g.output(all, `${RESULT}${name}`);
      return all;
    };
    const all = { keys: joined(keys, "key"), values: joined(values, "value") };
    layer++;
    return all;
  };
};
