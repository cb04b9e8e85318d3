import { describe, expect, it } from "vitest";
import { families } from "../../src/model/families/index.js";
import { withCores } from "../../src/peft/cores.js";
import { fullMethod } from "../../src/peft/full.js";
import { loraMethod, loraModules } from "../../src/peft/lora.js";
import type { Trainable } from "../../src/peft/method.js";
import { type PartitionLevel, partition, partitionLevels } from "../../src/peft/partition.js";
import { config } from "../model/tiny.js";

const bound = (modelType: string, more: Readonly<Record<string, unknown>> = {}) => {
  const family = families.find(({ modelTypes }) => modelTypes.includes(modelType))!;
  const given = { ...config, num_hidden_layers: 2, tie_word_embeddings: false, ...more };
  return family.bind(given, (name) => name === "lm_head.weight", "config.json");
};
const llama = bound("llama").parameters;
/** Names of each block, in order. */
const blocksOf = (tensors: readonly Trainable[], level: PartitionLevel): readonly (readonly string[])[] => {
  const blocks = partition(tensors, level);
  const groups: string[][] = [];
  for (const { name } of tensors) {
    const block = blocks.get(name)!;
    groups[block] ??= [];
    groups[block].push(name);
  }
  return groups;
};
const trainables = (names: readonly (readonly [name: string, layer?: number])[]): readonly Trainable[] =>
  names.map(([name, layer]) => ({
    ...{ name, shape: [2], initial: { kind: "zeros" } },
    ...(layer === undefined ? {} : { layer }),
  }));

describe("the blocks of a sweep over a llama model", () => {
  const all = fullMethod(llama).tensors;
  const at = (layer: number, name: string) => `model.layers.${layer}.${name}.weight`;
  const attention = (layer: number) =>
    ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "input_layernorm"].map((name) =>
      at(layer, name),
    );
  const mlp = (layer: number) =>
    ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "post_attention_layernorm"].map((name) => at(layer, name));
  const sorted = (blocks: readonly (readonly string[])[]) => blocks.map((block) => [...block].sort()).sort();
  const outside = [["model.embed_tokens.weight"], ["model.norm.weight"], ["lm_head.weight"]];

  it("are its transformer blocks, and each of what lies outside of them", () => {
    const expected = [[...attention(0), ...mlp(0)], [...attention(1), ...mlp(1)], ...outside];
    expect(sorted(blocksOf(all, "transformer"))).toEqual(sorted(expected));
  });

  it("are attention and MLP, each with the norm before it", () => {
    const expected = [attention(0), mlp(0), attention(1), mlp(1), ...outside];
    expect(sorted(blocksOf(all, "attention-mlp"))).toEqual(sorted(expected));
  });

  it("are its modules one by one", () => {
    const expected = [0, 1].flatMap((layer) => [...attention(layer), ...mlp(layer)].map((name) => [name]));
    expect(sorted(blocksOf(all, "linear"))).toEqual(sorted([...expected, ...outside]));
  });

  it("are counted from 0 in the order of the tensors, none left out, at every level", () => {
    for (const level of partitionLevels) {
      const blocks = [...partition(all, level).values()];
      expect(blocks).toHaveLength(all.length);
      const first = blocks.filter((block, i) => blocks.indexOf(block) === i);
      expect(first).toEqual([...first.keys()]);
      const names = all.map(({ name }) => name);
      expect([...partition(all, level).keys()]).toEqual(names);
    }
    expect(partitionLevels).toEqual(["transformer", "attention-mlp", "linear"]);
  });

  it("keep a LoRA pair together, under the module that it adapts", () => {
    const { tensors } = loraMethod(
      loraModules({ peft_type: "LORA", r: 2, lora_alpha: 2, target_modules: ["q_proj", "down_proj"] }, llama),
    );
    const pair = (layer: number, module: string) =>
      ["A", "B"].map((side) => `base_model.model.model.layers.${layer}.${module}.lora_${side}.weight`);
    const modules = [0, 1].flatMap((layer) => [pair(layer, "self_attn.q_proj"), pair(layer, "mlp.down_proj")]);
    expect(sorted(blocksOf(tensors, "linear"))).toEqual(sorted(modules));
    expect(sorted(blocksOf(tensors, "attention-mlp"))).toEqual(sorted(modules));
    expect(sorted(blocksOf(tensors, "transformer"))).toEqual(
      sorted([0, 1].map((layer) => [...pair(layer, "self_attn.q_proj"), ...pair(layer, "mlp.down_proj")])),
    );
  });

  it("keep a bias with its weight, and a core where its matrix is", () => {
    const qwen = fullMethod(bound("qwen2").parameters);
    for (const method of [qwen, withCores(qwen, { kind: "lozo", rank: 1, refreshEvery: 5 })]) {
      const module = blocksOf(method.tensors, "linear").find((block) =>
        block.includes("model.layers.1.self_attn.k_proj.bias"),
      );
      expect(module?.map((name) => name.replace("#core", "")).sort()).toEqual([
        "model.layers.1.self_attn.k_proj.bias",
        "model.layers.1.self_attn.k_proj.weight",
      ]);
    }
    for (const level of partitionLevels) {
      const cored = withCores(qwen, { kind: "subzero", rank: 1, refreshEvery: 5 });
      const dense = blocksOf(qwen.tensors, level);
      expect(blocksOf(cored.tensors, level).map((block) => block.map((name) => name.replace("#core", "")))).toEqual(
        dense,
      );
    }
  });
});

describe("attention and MLP", () => {
  it.each<[string, readonly string[], readonly string[]]>([
    [
      "GPT-2",
      ["h.0.attn.c_attn.weight", "h.0.attn.c_proj.bias", "h.0.ln_1.weight"],
      ["h.0.mlp.c_fc.weight", "h.0.ln_2.bias"],
    ],
    [
      "OPT",
      ["model.decoder.layers.0.self_attn.out_proj.weight", "model.decoder.layers.0.self_attn_layer_norm.bias"],
      ["model.decoder.layers.0.fc1.weight", "model.decoder.layers.0.final_layer_norm.weight"],
    ],
    [
      "BERT",
      ["bert.encoder.layer.0.attention.self.query.weight", "bert.encoder.layer.0.attention.output.LayerNorm.weight"],
      ["bert.encoder.layer.0.intermediate.dense.weight", "bert.encoder.layer.0.output.LayerNorm.bias"],
    ],
    [
      "Gemma 3",
      ["model.layers.0.self_attn.q_norm.weight", "model.layers.0.input_layernorm.weight"],
      ["model.layers.0.post_attention_layernorm.weight", "model.layers.0.pre_feedforward_layernorm.weight"],
    ],
  ])("are told apart by the names of %s", (_, attention, mlp) => {
    const tensors = trainables([...attention, ...mlp].map((name) => [name, 0] as const));
    expect(blocksOf(tensors, "attention-mlp")).toEqual([attention, mlp]);
  });
});
