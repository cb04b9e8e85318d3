import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../atomic.js";
import { movesEarlier } from "../engine/decoding.js";
import { ZerothError } from "../errors.js";
import type { Initializer, Model } from "../graph/ir.js";
import { encodeModel } from "../graph/onnx.js";
import type { WritableEncoding } from "../model/encodings.js";
import type { Json } from "../model/json.js";
import { mergedWeights } from "../peft/merged.js";
import type { Format, Wanted } from "./formats.js";
import { transformersGraph } from "./onnx/graph.js";
import { type Stored, tensorFile } from "./onnx/tensors.js";

/** The names of the graph's file by the type of its weights, as transformers.js looks for them. */
const names: Partial<Readonly<Record<WritableEncoding, string>>> = { F32: "model.onnx", F16: "model_fp16.onnx" };

/** Weights up to this many bytes are kept in the graph's own file. */
const LARGEST_INSIDE = 2 ** 26;

/** A graph with its weights in it. */
const filled = (model: Model, stored: ReadonlyMap<string, Stored>, content: Uint8Array): Model => {
  const inside = (initializer: Initializer): Initializer => {
    const place = stored.get(initializer.name)?.external;
    if (place === undefined) return initializer;
    return { ...initializer, data: { raw: content.subarray(place.offset, place.offset + place.length) } };
  };
  return { ...model, graph: { ...model.graph, initializers: model.graph.initializers.map(inside) } };
};

const refuse = ({ model, family, adapterOnly, dtype }: Wanted): void => {
  const usage = { kind: "usage" } as const;
  if (adapterOnly) throw new ZerothError("--adapter-only is for gguf: an ONNX graph has its adapter worked in.", usage);
  if (names[dtype] === undefined)
    throw new ZerothError("--format onnx writes float32 or float16: transformers.js has no bfloat16.", usage);
  if (family.reads !== "next")
    throw new ZerothError(`${model.configFile}: Zeroth writes ONNX of models that generate text, which this is not.`);
  if (movesEarlier(family, 1, family.contextLength))
    throw new ZerothError(`${model.configFile}: its rotary angles depend on a row's length, which no such graph has.`);
};

const json = (value: Json): string => `${JSON.stringify(value, null, 2)}\n`;

/** What goes with the graph: configuration, tokenizer, generation settings. */
const sidecars = (
  { model }: Wanted,
  graphName: string,
  isInside: boolean,
): ReadonlyMap<string, Uint8Array | string> => {
  const { torch_dtype: _, ...config } = model.config;
  const own = isInside ? {} : { "transformers.js_config": { use_external_data_format: { [graphName]: 1 } } };
  const { config: tokenizerConfig, chatTemplate } = model.tokenizerFiles;
  const roles = ["bos_token_id", "eos_token_id", "pad_token_id"];
  const tokens = Object.fromEntries(roles.flatMap((role) => (role in config ? [[role, config[role]]] : [])));
  return new Map<string, Uint8Array | string>([
    ["generation_config.json", json({ _from_model_config: true, ...tokens })],
    ...model.sidecars().map(({ name, content }) => [name, content] as const),
    // transformers.js looks for a chat template nowhere else.
    [
      "tokenizer_config.json",
      json({
        tokenizer_class: "PreTrainedTokenizerFast",
        ...tokenizerConfig,
        ...(chatTemplate === undefined ? {} : { chat_template: chatTemplate }),
      }),
    ],
    ["config.json", json({ ...config, ...own })],
  ]);
};

/**
 * The layout of transformers.js and the hub's ONNX exports: `onnx/model.onnx`, configuration and tokenizer.
 * @param largestInside more bytes of weights than that go into a file of their own, `onnx/model.onnx_data`
 */
export const onnxFormat = (largestInside = LARGEST_INSIDE): Format => ({
  writes: "folder",
  async write(wanted) {
    refuse(wanted);
    const { model, family, dtype, out } = wanted;
    const graphName = names[dtype] ?? "model.onnx";
    const shapes = new Map(family.parameters.map(({ name, shape }) => [name, shape]));
    // Vectors are small, and norms are sharper in fp32.
    const encodingOf = (name: string): WritableEncoding => (shapes.get(name)?.length === 1 ? "F32" : dtype);
    const merged = await mergedWeights({ files: model, family }, wanted.adapter, encodingOf);
    const { stored, chunks, size } = tensorFile(family, merged.read, encodingOf, `${graphName}_data`);
    const graph = transformersGraph(family, stored);
    const isInside = size <= largestInside;
    await mkdir(join(out, "onnx"), { recursive: true });
    const file = join(out, "onnx", graphName);
    if (isInside) {
      const content: Uint8Array[] = [];
      for await (const chunk of chunks()) content.push(chunk);
      await writeFileAtomic(file, encodeModel(filled(graph, stored, Buffer.concat(content))));
    } else {
      await writeFileAtomic(`${file}_data`, chunks());
      await writeFileAtomic(file, encodeModel(graph));
    }
    for (const [name, content] of sidecars(wanted, graphName, isInside))
      await writeFileAtomic(join(out, name), content);
    return { tensors: family.parameters.length, survivingChanges: merged.survivingChanges() };
  },
});
