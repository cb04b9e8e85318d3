import { ZerothError } from "../errors.js";
import { graphBuilder } from "../graph/builder.js";
import type { Dtype, Node, Value } from "../graph/ir.js";
import { encodeModel } from "../graph/onnx.js";
import { type Head, headOfLogits } from "../model/heads.js";
import type { ImportedGraph, ImportedModel, Site } from "../model/onnx/imported.js";
import { type Linear, matrixForms } from "../model/onnx/linear.js";
import { nodeName, orderedFor, readsOf } from "../model/onnx/order.js";
import { POINTS } from "../peft/method.js";
import { commonFolder, type Forward, OUTPUT } from "./plan.js";
import type { Resident } from "./protocol.js";
import { residentsOf, type TrainedWeights } from "./residents.js";
import { FLOAT32, giveInputs, INT64, placed, weaving } from "./weaving.js";

/* A graph that came with its model, for a run: rows in, adapters beside its linear layers, and a head behind its logits. */

/**
 * Builds the forward graph of an imported model: rows of R·N points, padded on the right, in; what a head says of P places out. Frozen tensors
 * are mapped from their files, trainable ones are inputs over buffers that the engine holds, as in `buildForward`.
 *
 * @throws ZerothError where a trainable set needs what the graph does not have
 */
export const buildImported = (options: TrainedWeights & { model: ImportedModel; head: Head }): Forward => {
  const { model, method, head } = options;
  const { imported } = model;
  const { own, residentOf } = residentsOf(options);
  const ours = new Set([
    ...["ids", "real", "positions", "types", "take", "columns", "targets"],
    POINTS,
    OUTPUT,
    ...own.keys(),
  ]);
  const called = (name: string): string => (ours.has(name) ? `${name}/imported` : name);
  const g = graphBuilder(
    "forward",
    [...imported.initializers.keys(), ...imported.nodes.flatMap(({ outputs }) => outputs)].map(called),
  );
  const woven = weaving(g, called);
  const { resolve, replaced, emit, cast, flat, shapedAs } = woven;
  const { rowLength } = giveInputs(g, imported, woven);

  const residents: Resident[] = [];
  const values = new Map<string, Value>();
  const tensor = (name: string): Value => {
    const known = values.get(name);
    if (known !== undefined) return known;
    const of = own.get(name);
    if (of === undefined) throw new Error(`no tensor ${name} of the method`);
    const resident = residentOf(of);
    residents.push(resident);
    const { shape, several } = resident;
    const value = g.input(name, "float32", several ? [POINTS, ...shape] : shape);
    values.set(name, value);
    return value;
  };
  /** The parameter that an initializer is. */
  const parameterOf = new Map([...imported.names].map(([parameter, initializer]) => [initializer, parameter]));
  for (const [parameter, initializer] of imported.names) {
    if (!own.has(parameter)) continue;
    const dtype = imported.initializers.get(initializer)?.dtype ?? FLOAT32;
    replaced.set(initializer, cast(tensor(parameter).name, FLOAT32, dtype));
  }
  if (method.cored?.bySide === true) requireSidePaths(imported, new Set(method.cored.matrices.map(({ base }) => base)));

  const attended = new Set(
    imported.nodes.flatMap(({ operator, inputs }) => (operator.endsWith("Attention") ? inputs : [])),
  );
  /** Puts what a method adds beside a value, [T, width], in its place. */
  const put = (output: string, dtype: number, before: Value, after: Value): void => {
    if (after === before) return;
    const shaped = shapedAs(after.name, called(output));
    // Fused attention takes its sizes from those of what it reads, [rows, length, width], before anything runs.
    const width = Number(after.shape.at(-1));
    const sized = attended.has(output) ? emit("Reshape", [shaped, g.constant([0, 0, width]).name]) : shaped;
    replaced.set(output, cast(sized, FLOAT32, dtype));
  };
  /** What adapters make of a product: of parts of it apart, where it is more modules than one. */
  const attached = (parts: Site["parts"], x: Value, base: Value): Value => {
    const { attach } = method;
    if (attach === undefined || parts.length === 0) return base;
    const slice = (from: number, to: number): Value =>
      g.op("Slice", [base, g.constant([from]), g.constant([to]), g.constant([1])]);
    const pieces = parts.map(({ module, from, outputs }) => {
      const piece = parts.length === 1 ? base : slice(from, from + outputs);
      return { piece, adapted: attach(g, module, x, piece, tensor) };
    });
    const [only] = pieces;
    if (only !== undefined && parts.length === 1) return only.adapted;
    if (pieces.every(({ piece, adapted }) => piece === adapted)) return base;
    const all = pieces.map(({ adapted }) => adapted);
    return g.op("Concat", all, { axis: 1 });
  };
  const adapt = ({ output, inputs, outputs, dtype, stored }: Linear, parts: Site["parts"], from: string): void => {
    const x = flat(cast(from, dtype, FLOAT32), inputs);
    const base = flat(cast(called(output), dtype, FLOAT32), outputs);
    const weight = parameterOf.get(stored) ?? "";
    const moved = own.has(weight) ? (method.product?.(g, weight, x, base, tensor) ?? base) : base;
    put(output, dtype, base, attached(parts, x, moved));
  };
  const { rows } = method;
  for (const { operator, inputs, outputs } of rows === undefined ? [] : imported.nodes) {
    const [table = "", indices = ""] = inputs;
    const [output = ""] = outputs;
    const name = parameterOf.get(table) ?? "";
    if (operator !== "Gather" || !own.has(name)) continue;
    const dtype = imported.initializers.get(table)?.dtype ?? FLOAT32;
    const width = own.get(name)?.shape[1] ?? imported.initializers.get(table)?.shape[1] ?? 0;
    const chosen = g.reshape({ name: resolve(indices), dtype: "int64", shape: ["T"] }, [-1]);
    const taken = flat(cast(called(output), dtype, FLOAT32), width);
    put(output, dtype, taken, rows?.(g, name, chosen, taken, tensor) ?? taken);
  }
  // In their order: what one reads may be what another was made into.
  for (const { linear, parts } of imported.sites) adapt(linear, parts, resolve(linear.x));

  const take = g.input("take", "int32", ["P"]);
  const { logits } = imported;
  const overrides = new Map<Node, readonly [from: string, to: string]>();
  /** Logits at the places that are asked for: the head runs at those alone where it is known which layer it is. */
  const taken = (): Value => {
    const last = imported.head?.linear;
    if (last === undefined || last.reader !== last.node || logits.perRow || last.outputs !== logits.width) {
      const places: Value = logits.perRow
        ? { name: emit("Div", [emit("Cast", [take.name], { to: INT64 }), rowLength()]), dtype: "int64", shape: ["P"] }
        : take;
      return g.op("Gather", [flat(cast(resolve(logits.name), logits.dtype, FLOAT32), logits.width), places]);
    }
    const hidden: Value = { name: resolve(last.x), dtype: nameOf(last.dtype), shape: ["T", last.inputs] };
    const rowsOf = g.op("Gather", [g.reshape(hidden, [-1, last.inputs]), take], {}, "taken");
    overrides.set(last.node, [last.x, rowsOf.name]);
    adapt(last, [], rowsOf.name);
    for (const { inputs, outputs } of [...(imported.head?.reshapes ?? [])].reverse())
      replaced.set(outputs[0] ?? "", resolve(inputs[0] ?? ""));
    return flat(cast(resolve(logits.name), logits.dtype, FLOAT32), logits.width, "P");
  };
  g.output(headOfLogits(g, head, taken()), OUTPUT);

  const built = g.build();
  const { path } = imported;
  const rewired = imported.nodes.map((node): Node => {
    const [from, to] = overrides.get(node) ?? [];
    const captured = readsOf(node, path).find((name) => !node.inputs.includes(name) && replaced.has(name));
    if (captured !== undefined)
      throw new ZerothError(`${path}: ${nodeName(node)} reads ${captured} in a graph of its own: not supported.`);
    return {
      ...node,
      inputs: node.inputs.map((name) => (name === "" ? "" : name === from && to !== undefined ? to : resolve(name))),
      outputs: node.outputs.map(called),
    };
  });
  const tensors = [...imported.initializers.values()].filter(({ name }) => !replaced.has(name));
  const files = tensors.flatMap(({ data }) =>
    data !== undefined && "external" in data ? [data.external.location] : [],
  );
  const folder = commonFolder(files);
  const graph = {
    ...built.graph,
    nodes: [...rewired, ...woven.nodes, ...built.graph.nodes],
    initializers: [...tensors.map((one) => ({ ...one, name: called(one.name) })), ...built.graph.initializers],
  };
  const nodes = orderedFor(graph, [OUTPUT], path);
  const read = new Set(nodes.flatMap((node) => readsOf(node, path)));
  const { original } = imported;
  const runtime = built.opsets.filter(
    ({ domain }) => domain !== "" && !original.opsets.some((o) => o.domain === domain),
  );
  // What the graph does not read is held all the same: cores that are added to copies.
  for (const of of own.values()) if (!values.has(of.name)) residents.push(residentOf(of));
  return {
    folder,
    residents,
    graph: encodeModel({
      ...original,
      irVersion: Math.max(original.irVersion, 8),
      opsets: [...original.opsets, ...runtime],
      graph: {
        ...graph,
        nodes,
        inputs: graph.inputs.filter(({ name }) => read.has(name)),
        initializers: graph.initializers
          .filter(({ name }) => read.has(name))
          .map((one) => placed(one, one.name, folder)),
      },
    }),
  };
};

const nameOf = (dtype: number): Dtype => (dtype === FLOAT32 ? "float32" : dtype === 10 ? "float16" : "bfloat16");

/** Matrices that move by what stands beside them must be read by operators that it can stand beside. */
const requireSidePaths = ({ nodes, names, path }: ImportedGraph, bases: ReadonlySet<string>): void => {
  const cored = new Set([...names].flatMap(([parameter, from]) => (bases.has(parameter) ? [from] : [])));
  const odd = nodes.find(
    ({ operator, inputs }) => !matrixForms.includes(operator) && inputs.some((name) => cored.has(name)),
  );
  if (odd !== undefined)
    throw new ZerothError(
      `${path}: ${nodeName(odd)} reads a matrix in a way that low-rank subspaces cannot go beside.\nTake an optimizer without one, or --method lora.`,
    );
};
