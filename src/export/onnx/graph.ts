import { type Builder, graphBuilder } from "../../graph/builder.js";
import { type Dim, dtypes, type Model, type Value } from "../../graph/ir.js";
import { keptAfter, remembering } from "../../model/decoding.js";
import { type BoundFamily, blocks, moduleOf } from "../../model/family.js";
import { headOutput } from "../../model/heads.js";
import type { Stored } from "./tensors.js";

/* The graph that transformers.js and others expect of a language model: batches of rows, keys and values in and out. */

const BATCH = "batch";
/** The batch's tokens, end to end, and those of one row. */
const TOKENS = "T";
const ROW = `${TOKENS}/${BATCH}`;

/** Added to scores of what is not seen; finite, since a row of padding sees nothing and must not become NaN. */
const UNSEEN = -1e9;

/** A value under the sizes that the model's pieces know it by. */
const as = (value: Value, shape: readonly Dim[]): Value => ({ ...value, shape });

/** The masks of the family's blocks, [B, 1, 1, tokens, past + tokens], from which places of the rows are real. */
const masksOf = (g: Builder, family: BoundFamily, ids: Value, attention: Value) => {
  const one = (value: Value): Value => g.op("Reshape", [value, g.constant([], [0])]);
  const step = one(g.constant([1]));
  const [all, fresh] = [attention, ids].map((value) => g.op("Shape", [value], { start: 1, end: 2 }));
  if (all === undefined || fresh === undefined) throw new Error("two sizes");
  const range = (from: Value, shape: readonly number[], sizes: readonly Dim[]): Value =>
    as(g.reshape(g.op("Range", [one(from), one(all), step]), shape), sizes);
  const width = keptAfter(ROW);
  const queries = range(g.op("Sub", [all, fresh]), [-1, 1], [ROW, 1]);
  const keys = range(g.constant([0]), [1, -1], [1, width]);
  const distance = g.op("Sub", [queries, keys], {}, "distance");
  const before = g.op("GreaterOrEqual", [distance, g.constant([0])]);
  const real = g.op("Cast", [g.reshape(as(attention, [BATCH, width]), [0, 1, 1, 1, -1])], { to: dtypes.bool });
  const number = (value: number): Value => g.constant(Float32Array.of(value), [1]);
  const masks = new Map<string, Value>();
  for (const [name, { window }] of Object.entries(family.masks)) {
    const near = window === undefined ? before : g.op("And", [before, g.op("Less", [distance, g.constant([window])])]);
    const seen = g.op("And", [as(real, [BATCH, 1, 1, 1, width]), near]);
    masks.set(name, g.op("Where", [seen, number(0), number(UNSEEN)], {}, `${name}.additive`));
  }
  return masks;
};

/**
 * Inputs: input_ids and position_ids int64 [B, tokens], attention_mask int64 [B, past + tokens] (0 where a row is padded, on the left),
 * past_key_values.N.key and .value [B, heads, past, size]. Outputs: logits [B, tokens, vocabulary], present.N.key and .value.
 *
 * @param stored where each tensor lies, tables of places among them
 */
export const transformersGraph = (family: BoundFamily, stored: ReadonlyMap<string, Stored>): Model => {
  const g = graphBuilder("model");
  const ids = g.input("input_ids", "int64", [BATCH, "tokens"]);
  const attention = g.input("attention_mask", "int64", [BATCH, "past + tokens"]);
  const positions = g.input("position_ids", "int64", [BATCH, "tokens"]);
  const batch = g.op("Shape", [ids], { start: 0, end: 1 }, BATCH);
  const flat = (value: Value): Value => as(g.reshape(value, [-1]), [TOKENS]);
  const known = new Map<string, Value>();
  const weight = (name: string): Value => {
    const tensor = stored.get(name);
    if (tensor === undefined) throw new Error(`no tensor ${name}`);
    const value = known.get(name) ?? widened(g, g.weight(name, tensor.dtype, tensor.shape, tensor.external));
    known.set(name, value);
    return value;
  };

  const flatIds = flat(ids);
  const flatPositions = flat(positions);
  /** What the family's pieces read, made of the inputs that others know. */
  const made = new Map<string, Value>([["ids", flatIds], ...masksOf(g, family, ids, attention)]);
  const everyToken = (): Value => {
    const [none, count] = [g.constant([0]), g.op("Shape", [flatIds])].map((size) =>
      g.op("Reshape", [size, g.constant([], [0])]),
    );
    if (none === undefined || count === undefined) throw new Error("two numbers");
    const step = g.op("Reshape", [g.constant([1]), g.constant([], [0])]);
    return as(g.op("Range", [none, count, step]), [TOKENS]);
  };
  const inputs: Builder = {
    ...g,
    input(name, dtype, shape) {
      const value = made.get(name);
      if (value !== undefined) return value;
      if (name === "take") return everyToken();
      // A table with a row for each position.
      if (stored.has(name)) return as(g.op("Gather", [weight(name), flatPositions], {}, `${name}.placed`), shape);
      return g.input(name, dtype, shape);
    },
  };

  const parameters = new Map(family.parameters.map((parameter) => [parameter.name, parameter]));
  const project = (name: string, x: Value, bias?: string): Value => {
    const transB = parameters.get(name)?.turned === true ? 0 : 1;
    const product = g.op("Gemm", [x, weight(name)], { transB }, moduleOf({ name }));
    return bias === undefined ? product : g.op("Add", [product, weight(bias)], {}, `${bias}.added`);
  };
  const parts = {
    g: inputs,
    weight,
    rows: (name: string, indices: Value): Value => g.op("Gather", [weight(name), indices], {}, `${name}.rows`),
    project,
    linear(module: string, x: Value): Value {
      const bias = `${module}.bias`;
      return project(`${module}.weight`, x, parameters.has(bias) ? bias : undefined);
    },
    remember: remembering(g),
    batch,
  };
  const pieces = family.pieces(parts);
  const hidden = pieces.last(blocks(pieces, pieces.embed(), 0, family.layers));
  const logits = headOutput(parts, "logits", hidden, family.head);
  const shape = g.op("Concat", [batch, g.constant([-1, Number(logits.shape[1])])], { axis: 0 });
  g.output(as(g.op("Reshape", [logits, shape]), [BATCH, "tokens", Number(logits.shape[1])]), "logits");
  return g.build();
};

/** The runtime widens a weight once, while it loads. */
const widened = (g: Builder, value: Value): Value =>
  value.dtype === "float16" ? g.op("Cast", [value], { to: dtypes.float32 }, `${value.name}.widened`) : value;
