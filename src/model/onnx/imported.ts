import { ZerothError } from "../../errors.js";
import type { Initializer, Model, Node } from "../../graph/ir.js";
import type { Encoding } from "../encodings.js";
import type { Architecture, BoundFamily, Parameter, Reading } from "../family.js";
import { isJson, type Json } from "../json.js";
import type { TensorSource } from "../weights.js";
import type { OnnxFile } from "./file.js";
import { genaiNames, type ImportedInput, inputsOf } from "./inputs.js";
import { FLOATS, headOf, type Linear, linearsOf, ROUNDING, type Wires, wiresOf } from "./linear.js";
import { layerOf, moduleName, type Part, partsOf, targetsOf } from "./names.js";
import { checkOperators, orderedFor } from "./order.js";

/** A linear layer where adapters attach. */
export interface Site {
  readonly linear: Linear;
  readonly parts: readonly Part[];
}

/** A graph that came with a model, read and rewritten for training; `engine/imported.ts` adds adapters and heads. */
export interface ImportedGraph {
  readonly path: string;
  /** As the file has it, its larger tensors left in their files. */
  readonly original: Model;
  /** What the logits need, in order. Large tensors are external, at real paths. */
  readonly nodes: readonly Node[];
  readonly initializers: ReadonlyMap<string, Initializer>;
  readonly inputs: readonly ImportedInput[];
  readonly logits: { readonly name: string; readonly width: number; readonly dtype: number; readonly perRow: boolean };
  /** The layer that logits come from, which then runs at the places alone that are asked for; and reshapes behind it. */
  readonly head: { readonly linear: Linear; readonly reshapes: readonly Node[] } | undefined;
  readonly sites: readonly Site[];
  /** Names of the initializers that parameters are, by the parameters' names. */
  readonly names: ReadonlyMap<string, string>;
}

/** A model whose graph came with it. */
export interface ImportedModel extends Architecture {
  readonly imported: ImportedGraph;
  /** The model that was exported keeps its linear weights [inputs, outputs] (GPT-2's Conv1D). */
  readonly fanInFanOut: boolean;
  /** What the user should know of how it was read. */
  readonly notes: readonly string[];
}

/** A model that runs, by a graph that is built here or one that came with it. */
export type RunnableModel = BoundFamily | ImportedModel;

const ENCODINGS: Readonly<Record<number, Encoding>> = { 1: "F32", 10: "F16", 16: "BF16" };

/** Activations of fp32: with 8-bit ones the loss differences of zeroth-order steps drown in rounding. */
const fullActivations = (nodes: readonly Node[]): { readonly nodes: readonly Node[]; readonly changed: number } => {
  let changed = 0;
  const rewritten = nodes.map((node): Node => {
    const level = node.operator === "MatMulNBits" ? node.attributes.accuracy_level : undefined;
    if (typeof level !== "number" || level < 2) return node;
    changed++;
    return { ...node, attributes: { ...node.attributes, accuracy_level: 1 } };
  });
  return { nodes: rewritten, changed };
};

/** Floats of the file that are a model's parameters and no constants of its arithmetic: by their names, or as an embedding is read. */
const isParameter = ({ name, shape, dtype }: Initializer, { consumers }: Wires): boolean =>
  FLOATS.includes(dtype) &&
  shape.length > 0 &&
  shape.length <= 2 &&
  (/(^|[._])(weight|bias)$/.test(name) ||
    (consumers.get(name) ?? []).some(
      ({ operator, inputs }) =>
        shape.length === 2 && operator === "Gather" && inputs[0] === name && !/cache|rotary/i.test(name),
    ));

const parametersOf = (
  sites: readonly Site[],
  head: Linear | undefined,
  wires: Wires,
  places: OnnxFile["places"],
): { readonly parameters: readonly Parameter[]; readonly names: ReadonlyMap<string, string> } => {
  const parameters = new Map<string, Parameter>();
  const owner = new Map<string, string>();
  const add = (parameter: Omit<Parameter, "layer">, initializer?: string): void => {
    const { name } = parameter;
    if (parameters.has(name)) return;
    const layer = layerOf(name);
    parameters.set(name, layer === undefined ? parameter : { ...parameter, layer });
    if (initializer !== undefined) owner.set(initializer, name);
  };
  const addLinear = ({ weight, inputs, outputs }: Linear, name: string, adapted: boolean): void => {
    const linear = adapted ? { linear: true } : {};
    if (weight === undefined) add({ name, shape: [outputs, inputs], ...linear, stored: "blocks" });
    else {
      const { initializer, turned } = weight;
      const form = { name, shape: initializer.shape, ...linear, ...(turned ? { turned } : {}) };
      if (owner.has(initializer.name) || !places.has(initializer.name)) add({ ...form, stored: "part" });
      else add(form, initializer.name);
    }
  };
  for (const { linear, parts } of sites) {
    const [first, ...others] = parts;
    if (first === undefined) continue;
    if (others.length === 0) addLinear(linear, `${first.module}.weight`, true);
    else {
      for (const { module, outputs } of parts)
        add({ name: `${module}.weight`, shape: [outputs, linear.inputs], linear: true, stored: "part" });
      addLinear(linear, `${moduleName(linear)}.weight`, false);
    }
  }
  if (head !== undefined) addLinear(head, `${moduleName(head)}.weight`, false);
  for (const tensor of wires.initializers.values()) {
    if (
      wires.consumers.has(tensor.name) &&
      places.has(tensor.name) &&
      !owner.has(tensor.name) &&
      isParameter(tensor, wires)
    )
      add({ name: tensor.name, shape: tensor.shape }, tensor.name);
  }
  return { parameters: [...parameters.values()], names: new Map([...owner].map(([from, name]) => [name, from])) };
};

const readings: readonly (readonly [RegExp, Reading])[] = [
  [/ForMaskedLM$/, "masked"],
  [/ForSequenceClassification$/, "class"],
];

const readingOf = (config: Json, perRow: boolean): Reading => {
  if (perRow) return "class";
  const names: readonly unknown[] = Array.isArray(config.architectures) ? config.architectures : [];
  return (
    readings.find(([pattern]) => names.some((name) => typeof name === "string" && pattern.test(name)))?.[1] ?? "next"
  );
};

const positive = (...values: readonly unknown[]): number | undefined =>
  values.find((value): value is number => typeof value === "number" && Number.isInteger(value) && value > 0);

const logitsOf = ({ graph }: Model, { config, genai, path }: Source, head: (name: string) => Linear | undefined) => {
  const name = genaiNames(genai, "outputs").logits ?? "logits";
  const port = graph.outputs.find((output) => output.name === name);
  if (port === undefined)
    throw new ZerothError(
      `${path} gives no ${name} (it gives ${graph.outputs
        .slice(0, 3)
        .map((output) => output.name)
        .join(", ")}).\nExport the model with its head, as text generation.`,
    );
  const type = port.type !== undefined && "shape" in port.type ? port.type : undefined;
  const last = type?.shape.at(-1);
  const width = (typeof last === "number" ? last : undefined) ?? head(name)?.outputs ?? positive(config.vocab_size);
  if (width === undefined)
    throw new ZerothError(`${path}: neither the graph nor config.json says how wide ${name} is.`);
  return { name, width, dtype: type?.dtype ?? 1, perRow: type?.shape.length === 2 };
};

/** Where a graph and what is said about it come from. */
interface Source {
  readonly path: string;
  readonly config: Json;
  /** ONNX Runtime GenAI's `genai_config.json`, where there is one. */
  readonly genai: Json | undefined;
}

/**
 * A model out of an ONNX file: which tensors are its parameters, where adapters attach, and how its inputs are given. Outputs other than
 * the logits are dropped, and what only they need.
 *
 * @throws ZerothError for a graph that is damaged, or is not that of a language model of one graph
 */
export const importModel = (
  { model, path, places }: OnnxFile,
  { config, genai }: Omit<Source, "path">,
): { readonly architecture: ImportedModel; readonly weights: ReadonlyMap<string, TensorSource> } => {
  const { graph } = model;
  // Up to version 3 of the format initializers are listed as inputs too.
  const held = new Set(graph.initializers.map(({ name }) => name));
  const ports = graph.inputs.filter(({ name }) => !held.has(name));
  const inputs = inputsOf(ports, { config, genai, path });
  const wanted = genaiNames(genai, "outputs").logits ?? "logits";
  const isGiven = graph.outputs.some(({ name }) => name === wanted);
  // The whole graph is checked, also what only caches need.
  orderedFor(
    { ...graph, inputs: ports },
    graph.outputs.map(({ name }) => name),
    path,
  );
  const ordered = orderedFor({ ...graph, inputs: ports }, isGiven ? [wanted] : [], path);
  checkOperators(model, ordered, path);
  const { nodes, changed } = fullActivations(ordered);
  const wires = wiresOf(nodes, graph);
  const linears = linearsOf(nodes, wires);
  const logits = logitsOf(model, { path, config, genai }, (name) => headOf(linears, wires, name)?.linear);
  const head = headOf(linears, wires, logits.name);
  const sites = linears
    .filter((linear) => linear !== head?.linear)
    .map((linear): Site => ({ linear, parts: partsOf(moduleName(linear), linear.outputs, config) }));
  const { parameters, names } = parametersOf(sites, head?.linear, wires, places);
  const weights = new Map<string, TensorSource>();
  for (const [name, from] of names) {
    const [tensor, place] = [wires.initializers.get(from), places.get(from)];
    const encoding = ENCODINGS[tensor?.dtype ?? 0];
    if (tensor === undefined || place === undefined || encoding === undefined) continue;
    const { location: file, offset, length } = place;
    weights.set(name, { name, shape: tensor.shape, encoding, file, offset, length });
  }
  const rounding = nodes.filter(({ operator }) => ROUNDING.includes(operator)).length;
  const half = linears.some(({ dtype }) => dtype !== 1);
  const modules = sites.flatMap(({ parts }) => parts.map(({ module }) => module));
  const decoder = isJson(genai?.model) ? genai.model : {};
  return {
    weights,
    architecture: {
      parameters,
      layers: Math.max(0, ...parameters.map(({ layer = -1 }) => layer + 1)),
      reads: readingOf(config, logits.perRow),
      contextLength: positive(config.max_position_embeddings, config.n_positions, decoder.context_length) ?? 2048,
      targets: targetsOf(modules),
      fanInFanOut: config.model_type === "gpt2",
      notes: [
        ...(changed === 0
          ? []
          : [
              `${changed} layers of ${path} round activations to 8 bits (accuracy_level 4), in which a step's loss differences would drown: they are run in fp32.`,
            ]),
        ...(rounding === 0
          ? []
          : [
              `${rounding} layers of ${path} round activations to 8 bits: loss differences of small steps drown in that. Take the fp32, fp16 or q4 file of the model, or a larger epsilon; zeroth doctor tells.`,
            ]),
        ...(half
          ? [`${path} computes in 16 bits, which rounds losses: zeroth doctor tells whether epsilon is large enough.`]
          : []),
      ],
      imported: {
        ...{ path, original: model, nodes, initializers: wires.initializers, inputs, logits, head, sites, names },
      },
    },
  };
};
