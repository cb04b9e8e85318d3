import { ZerothError } from "../errors.js";
import { type WritableEncoding, writers } from "../model/encodings.js";
import type { Parameter } from "../model/family.js";
import { type GgufArchitectureName, ggufArchitectures, ROTARY_FACTORS } from "../model/gguf/architectures.js";
import { ggufName } from "../model/gguf/names.js";
import { type GgufEntry, writeGguf } from "../model/gguf/write.js";
import { turn } from "../model/kept.js";
import type { TensorToWrite } from "../model/safetensors.js";
import { readTensorSync, type TensorSource } from "../model/weights.js";
import { readLora } from "../peft/adapter.js";
import { alphaOf, loraNames } from "../peft/lora.js";
import { mergedWeights } from "../peft/merged.js";
import type { Format, Wanted, Written } from "./formats.js";
import { type GgufLayout, ggufLayout } from "./gguf/architectures.js";
import { tokenizerEntries } from "./gguf/tokenizer.js";

/** llama.cpp's numbers for files that are mostly of a type. */
const fileTypes: Readonly<Record<WritableEncoding, number>> = { F32: 0, F16: 1, BF16: 32 };

const isVector = ({ shape }: Parameter): boolean => shape.length === 1;

/** llama.cpp's name of a tensor; GPT-2's are under `transformer.` in some files and bare in others. */
const nameOf = ({ model }: Wanted, architecture: GgufArchitectureName, tensor: string): string => {
  const { names } = ggufArchitectures[architecture];
  const name = ggufName(names, tensor) ?? ggufName(names, `transformer.${tensor}`);
  if (name !== undefined) return name;
  throw new ZerothError(`${model.configFile}: ${tensor} has no name in llama.cpp's ${architecture} models.`);
};

const general = (wanted: Wanted, { architecture }: GgufLayout, type: "model" | "adapter"): readonly GgufEntry[] => [
  ["general.architecture", "string", architecture],
  ["general.type", "string", type],
  ["general.name", "string", wanted.model.origin.spec.replace(/[/\\]+$/, "").replace(/^.*[/\\]/, "")],
  ["general.file_type", "u32", fileTypes[wanted.dtype]],
];

/** Base and adapter as one file, with the tokenizer. */
const writeModel = async (wanted: Wanted, layout: GgufLayout): Promise<Written> => {
  const { model, family, dtype, out } = wanted;
  const { architecture, numbers, rotaryFactors, counts, windows: hasWindows = false } = layout;
  const [vocabulary = 0] = family.parameters[0]?.shape ?? [];
  // llama.cpp adds vectors and positions in fp32 alone.
  const rounds = (parameter: Parameter): boolean => !isVector(parameter) && !parameter.name.endsWith("wpe.weight");
  const dtypes = new Map(family.parameters.map((one) => [one.name, rounds(one) ? dtype : "F32"] as const));
  const dtypeOf = (name: string): WritableEncoding => dtypes.get(name) ?? "F32";
  const merged = await mergedWeights({ files: wanted.model, family: wanted.family }, wanted.adapter, dtypeOf);
  const tensors = family.parameters.map((parameter): TensorToWrite => {
    const { name, shape } = parameter;
    const kept = ggufArchitectures[architecture].kept(name, counts);
    return {
      name: nameOf(wanted, architecture, name),
      shape: kept?.as === "transpose" ? [...shape].reverse() : shape,
      dtype: dtypeOf(name),
      async bytes() {
        const data = await merged.read(name);
        if (kept !== undefined) turn(data, shape, kept, "to file");
        return writers[dtypeOf(name)](data);
      },
    };
  });
  const factors = rotaryFactors === undefined ? [] : [vector(ROTARY_FACTORS, rotaryFactors)];
  // Where blocks see a window that llama.cpp does not know of, rows up to its length are those that it computes the same way.
  const windows = hasWindows ? [] : Object.values(family.masks).flatMap(({ window }) => window ?? []);
  const bounded = numbers.map(
    ([key, type, value]): GgufEntry =>
      key === "context_length" ? [key, type, Math.min(Number(value), ...windows)] : [key, type, value],
  );
  const keyed = (entries: readonly GgufEntry[]) =>
    entries.map(([key, ...rest]): GgufEntry => [`${architecture}.${key}`, ...rest]);
  const entries: readonly GgufEntry[] = [
    ...general(wanted, layout, "model"),
    ...keyed([["vocab_size", "u32", vocabulary], ...bounded]),
    ...tokenizerEntries(model, vocabulary),
  ];
  await writeGguf(out, entries, [...tensors, ...factors]);
  return { tensors: tensors.length + factors.length, survivingChanges: merged.survivingChanges() };
};

const vector = (name: string, values: Float32Array): TensorToWrite => ({
  name,
  shape: [values.length],
  dtype: "F32",
  bytes: () => writers.F32(values),
});

/** The adapter alone, for llama.cpp's `--lora`. It has one alpha for all modules, so what differs goes into B. */
const writeAdapter = async (wanted: Wanted, adapter: string, layout: GgufLayout): Promise<Written> => {
  const { family, dtype, out } = wanted;
  const { modules, tensors: sources } = readLora(adapter, { files: wanted.model, family });
  const alphas = modules.map(alphaOf);
  const alpha = alphas.find((one) => one !== 0) ?? 1;
  const read = (source: TensorSource | undefined): Float32Array => {
    if (source === undefined) throw new Error("no such tensor of the adapter");
    return readTensorSync(source);
  };
  const tensors = modules.flatMap(({ module, inputs, outputs, rank }, i): readonly TensorToWrite[] => {
    const name = nameOf(wanted, layout.architecture, `${module}.weight`);
    const { a, b } = loraNames(module);
    const factor = (alphas[i] ?? 0) / alpha;
    return [
      {
        name: `${name}.lora_a`,
        shape: [rank, inputs],
        dtype,
        bytes: () => writers[dtype](read(sources.get(a))),
      },
      {
        name: `${name}.lora_b`,
        shape: [outputs, rank],
        dtype,
        bytes() {
          const data = read(sources.get(b)).map((value) => value * factor);
          // What turns a weight's rows turns B's; llama.cpp has adapters of turned weights as PEFT has them.
          const kept = ggufArchitectures[layout.architecture].kept(`${module}.weight`, layout.counts);
          if (kept?.as === "rotary pairs") turn(data, [outputs, rank], kept, "to file");
          return writers[dtype](data);
        },
      },
    ];
  });
  const entries: readonly GgufEntry[] = [
    ...general(wanted, layout, "adapter"),
    ["adapter.type", "string", "lora"],
    ["adapter.lora.alpha", "f32", alpha],
  ];
  await writeGguf(out, entries, tensors);
  return { tensors: tensors.length, survivingChanges: 1 };
};

/** llama.cpp's format: a model with its tokenizer, or a LoRA adapter by itself. */
export const gguf: Format = {
  writes: "file",
  async write(wanted) {
    const layout = ggufLayout(wanted.model.config, wanted.model.configFile);
    if (!wanted.adapterOnly || wanted.adapter === undefined) return writeModel(wanted, layout);
    return writeAdapter(wanted, wanted.adapter, layout);
  },
};
