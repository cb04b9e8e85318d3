import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { load, type Model } from "../../src/api/load.js";
import { writeSafetensors } from "../../src/model/safetensors.js";
import { bindTiny, weightsOf } from "../model/families/tiny.js";
import { tokenizer, WORDS } from "../model/tiny.js";

/* A model of three blocks with everything that a method may be about: biases, learned positions, weights the other way round. */

const config = {
  ...{ model_type: "gpt2", n_embd: 32, n_layer: 3, n_head: 4, n_positions: 64, vocab_size: WORDS.length },
  ...{ architectures: ["GPT2LMHeadModel"], bos_token_id: 0 },
};

export const openTiny = async (folder: string): Promise<Model> => {
  mkdirSync(folder, { recursive: true });
  const write = (name: string, value: unknown) => writeFileSync(join(folder, name), JSON.stringify(value));
  write("config.json", config);
  write("tokenizer.json", tokenizer);
  write("tokenizer_config.json", { bos_token: "<s>" });
  const tensors = bindTiny("gpt2").parameters.map(({ name, shape: [first = 0, ...rest] }) => {
    const shape = name.endsWith("wte.weight") ? [WORDS.length, ...rest] : [first, ...rest];
    return { name, shape, dtype: "F32" as const, bytes: () => new Uint8Array(weightsOf(name, shape).buffer) };
  });
  await writeSafetensors(join(folder, "model.safetensors"), tensors);
  return load(folder);
};

/** Rows to train on. */
export const writeRows = (file: string): void => {
  const texts = ["hello hello", "hell hello hell", "hello", "hell hell", "he hello hell", "hello he"];
  writeFileSync(file, texts.map((text, i) => JSON.stringify({ text, label: i % 2 })).join("\n"));
};
export const question = { prompt: "{text}", options: " hello,hell" } as const;
