import { ZerothError } from "../../errors.js";
import type { Dim, Port } from "../../graph/ir.js";
import { oneLine } from "../../one-line.js";
import { isJson, type Json } from "../json.js";

/** What goes into an input of an imported graph. */
type Given =
  /** One of the rows' own inputs: token ids, which of them are real, their positions, their types. */
  | { readonly kind: "row"; readonly feed: RowFeed }
  /** No tokens before these: zeros of a shape, in which `null` is the number of rows. */
  | { readonly kind: "cache"; readonly shape: readonly (number | null)[] }
  | { readonly kind: "constant"; readonly value: number; readonly shape: readonly number[] };

/** Graph inputs that rows come in, int32 [rows, length] each. */
export type RowFeed = "ids" | "real" | "positions" | "types";

export interface ImportedInput {
  readonly name: string;
  readonly dtype: number;
  readonly given: Given;
}

const rows: Readonly<Record<string, RowFeed>> = {
  input_ids: "ids",
  attention_mask: "real",
  position_ids: "positions",
  token_type_ids: "types",
};

/** The names that ONNX Runtime GenAI's configuration gives inputs and outputs, by the usual ones; patterns have `%d`. */
export const genaiNames = (genai: Json | undefined, kind: "inputs" | "outputs"): Readonly<Record<string, string>> => {
  const model = genai?.model;
  const decoder = isJson(model) ? model.decoder : undefined;
  const names = isJson(decoder) ? decoder[kind] : undefined;
  return isJson(names)
    ? Object.fromEntries(Object.entries(names).filter((pair): pair is [string, string] => typeof pair[1] === "string"))
    : {};
};

/** Whether a name is that of a cache, by the usual names or by a configuration's patterns. */
const isCache = (name: string, names: Readonly<Record<string, string>>): boolean =>
  /^(past|cache)(_|\.|$)/.test(name) ||
  Object.entries(names).some(([key, pattern]) => {
    const [before = "", after] = pattern.split("%d");
    return key.startsWith("past") && after !== undefined && name.startsWith(before) && name.endsWith(after);
  });

const whole = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isInteger(value) && value > 0 ? value : undefined;

/** A size of a cache that the graph names: the batch, no tokens yet, or what the configuration says of heads. */
const sizeOf = (dim: string, axis: number, batch: Dim, config: Json): number | null => {
  if (dim === batch) return null;
  if (/past|seq|len|total|cache/i.test(dim)) return 0;
  const heads = whole(config.num_attention_heads) ?? whole(config.n_head);
  const width = whole(config.hidden_size) ?? whole(config.n_embd);
  const size = whole(config.head_dim) ?? (heads === undefined || width === undefined ? undefined : width / heads);
  return (axis === 1 ? (whole(config.num_key_value_heads) ?? heads) : size) ?? 0;
};

const advice = "Export the model as text generation with past (decoder only, input_ids in, logits out).";

/**
 * How each input of a graph is given.
 * @throws ZerothError for an input that a text decoder or encoder does not have
 */
export const inputsOf = (
  ports: readonly Port[],
  { config, genai, path }: { readonly config: Json; readonly genai: Json | undefined; readonly path: string },
): readonly ImportedInput[] => {
  const names = genaiNames(genai, "inputs");
  const own = new Map([
    ...Object.entries(rows),
    ...Object.entries(names).flatMap(([key, name]) => (rows[key] === undefined ? [] : [[name, rows[key]] as const])),
  ]);
  const shapeOf = ({ name, type }: Port) => {
    if (type === undefined || "raw" in type)
      throw new ZerothError(`${path}: the graph does not say the shape of its input ${oneLine(name, 80)}.\n${advice}`);
    return type;
  };
  const batch = ports
    .filter(({ name }) => own.get(name) === "ids")
    .map((port) => shapeOf(port).shape[0])
    .at(0);
  if (batch === undefined) throw new ZerothError(`${path}: the graph has no input input_ids.\n${advice}`);
  return ports.map((port) => {
    const { name } = port;
    const { dtype, shape } = shapeOf(port);
    const feed = own.get(name);
    if (feed !== undefined) {
      if (shape.length !== 2)
        throw new ZerothError(
          `${path}: the input ${oneLine(name, 80)} is [${shape}], not [rows, length]: not supported.`,
        );
      return { name, dtype, given: { kind: "row", feed } };
    }
    if (name === "num_logits_to_keep")
      return { name, dtype, given: { kind: "constant", value: 0, shape: shape.map(() => 1) } };
    if (!isCache(name, names))
      throw new ZerothError(
        `${path}: the input ${oneLine(name, 80)} is none that a language model of one graph has.\n${advice}`,
      );
    return {
      name,
      dtype,
      given: {
        kind: "cache",
        shape: shape.map((dim, axis) => (typeof dim === "number" ? dim : sizeOf(dim, axis, batch, config))),
      },
    };
  });
};
