import { join } from "node:path";
import { load, type Model } from "../../src/api/load.js";
import { writers } from "../../src/model/encodings.js";
import { writeSafetensors } from "../../src/model/safetensors.js";
import type { LoraModule } from "../../src/peft/lora.js";
import { loraNames } from "../../src/peft/lora.js";
import { bindTiny, type TinyName, tinyConfigs, weightsOf } from "../model/families/tiny.js";
import { temporaryFolder, tokenizer, WORDS, writeJson } from "../model/tiny.js";

/* Tiny models and adapters on disk. */

/** A model folder of a family, weights with some spread. */
const writeTiny = async (name: TinyName, more: Readonly<Record<string, unknown>> = {}): Promise<string> => {
  const folder = await temporaryFolder();
  const config = { ...tinyConfigs[name], vocab_size: WORDS.length, ...more };
  await writeJson(join(folder, "config.json"), config);
  await writeJson(join(folder, "tokenizer.json"), tokenizer);
  await writeJson(join(folder, "tokenizer_config.json"), { bos_token: "<s>", eos_token: { content: "</s>" } });
  const shapeOf = (shape: readonly number[]): readonly number[] =>
    shape.map((dim) => (dim === 10 ? WORDS.length : dim));
  const tensors = bindTiny(name).parameters.map(({ name: tensor, shape }) => ({
    name: tensor,
    shape: shapeOf(shape),
    dtype: "F32" as const,
    bytes: () => writers.F32(weightsOf(tensor, shapeOf(shape))),
  }));
  await writeSafetensors(join(folder, "model.safetensors"), tensors);
  return folder;
};
export const openTiny = async (name: TinyName, more: Readonly<Record<string, unknown>> = {}): Promise<Model> =>
  load(await writeTiny(name, more));

/** A PEFT adapter on some modules with weights that tell tensors, rows and columns apart. */
export const writeLora = async (
  modules: readonly Pick<LoraModule, "module" | "rank" | "inputs" | "outputs">[],
  config: Readonly<Record<string, unknown>>,
): Promise<string> => {
  const folder = await temporaryFolder();
  await writeJson(join(folder, "adapter_config.json"), { peft_type: "LORA", ...config });
  const tensors = modules.flatMap(({ module, rank, inputs, outputs }) => {
    const names = loraNames(module);
    return [
      { name: names.a, shape: [rank, inputs] },
      { name: names.b, shape: [outputs, rank] },
    ];
  });
  await writeSafetensors(
    join(folder, "adapter_model.safetensors"),
    tensors.map((tensor) => ({
      ...tensor,
      dtype: "F32" as const,
      bytes: () => writers.F32(weightsOf(tensor.name, tensor.shape)),
    })),
  );
  return folder;
};
