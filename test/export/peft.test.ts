import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { exportModel } from "../../src/api/export.js";
import { writers } from "../../src/model/encodings.js";
import { readSafetensorsHeader, writeSafetensors } from "../../src/model/safetensors.js";
import { readTensorSync } from "../../src/model/weights.js";
import { readLora } from "../../src/peft/adapter.js";
import { temporaryFolder } from "../model/tiny.js";
import { openTiny, writeLora } from "./models.js";

const newFolder = async (): Promise<string> => join(await temporaryFolder(), "exported");
const configIn = (folder: string) => JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"));

const q = (layer: number) => ({ module: `model.layers.${layer}.self_attn.q_proj`, rank: 2, inputs: 32, outputs: 32 });
const down = { module: "model.layers.1.mlp.down_proj", rank: 4, inputs: 48, outputs: 32 };

describe("an adapter in PEFT's plainest form", () => {
  it("is the same adapter, whatever spelled its scales: rslora, patterns, targets by a pattern", async () => {
    const model = await openTiny("llama");
    const adapter = await writeLora([q(0), q(1), q(2), down], {
      ...{ r: 2, lora_alpha: 6, use_rslora: true, rank_pattern: { "mlp\\.down_proj": 4 } },
      target_modules: ".*\\.(q|down)_proj",
    });
    const out = await newFolder();
    expect(await exportModel(model, { format: "peft", out, adapter })).toMatchObject({ tensors: 8 });
    const [before, after] = [adapter, out].map((folder) => readLora(folder, model));
    expect(after!.modules.map(({ module, rank, scale }) => [module, rank, scale.toFixed(12)])).toEqual(
      before!.modules.map(({ module, rank, scale }) => [module, rank, scale.toFixed(12)]),
    );
    for (const [name, source] of before!.tensors)
      expect(readTensorSync(after!.tensors.get(name)!), name).toEqual(readTensorSync(source));
    const { use_rslora, r, lora_alpha, rank_pattern, alpha_pattern, target_modules } = configIn(out);
    expect({ use_rslora, r, rank_pattern }).toEqual({ use_rslora: false, r: 2, rank_pattern: { [down.module]: 4 } });
    expect(lora_alpha / 2).toBeCloseTo(6 / Math.sqrt(2), 12);
    expect(alpha_pattern[down.module] / 4).toBeCloseTo(6 / Math.sqrt(4), 12);
    // One of three down projections is adapted, so its name says too much.
    expect(target_modules).toContain(down.module);
  });

  it("names modules by their last part where all of them are adapted", async () => {
    const out = await newFolder();
    const adapter = await writeLora([q(0), q(1), q(2)], { r: 2, lora_alpha: 6 });
    await exportModel(await openTiny("llama"), { format: "peft", out, adapter });
    expect(configIn(out).target_modules).toEqual(["q_proj"]);
  });

  it("GPT-2's modules have the language model's paths, and their weights lie turned", async () => {
    const model = await openTiny("gpt2");
    const module = "transformer.h.0.attn.c_attn";
    const adapter = await writeLora([{ module, rank: 2, inputs: 32, outputs: 96 }], { r: 2, lora_alpha: 6 });
    const out = await newFolder();
    await exportModel(model, { format: "peft", out, adapter });
    expect(configIn(out)).toMatchObject({ fan_in_fan_out: true, target_modules: [module], task_type: "CAUSAL_LM" });
  });

  it("keys with an adapter's name or without PEFT's prefix become PEFT's; two for one tensor are refused", async () => {
    const model = await openTiny("llama");
    const adapter = await writeLora([q(0)], { r: 2, lora_alpha: 6 });
    const names = readSafetensorsHeader(join(adapter, "adapter_model.safetensors")).map(({ name }) => name);
    const rewrite = async (spell: (name: string) => readonly string[]): Promise<void> => {
      const entries = names.flatMap((name) =>
        spell(name).map((key) => ({
          ...{ name: key, shape: name.includes("lora_A") ? [2, 32] : [32, 2], dtype: "F32" as const },
          bytes: () => writers.F32(new Float32Array(64).fill(0.5)),
        })),
      );
      await writeSafetensors(join(adapter, "adapter_model.safetensors"), entries);
    };
    const named = (name: string) => name.replace(".weight", ".default.weight");
    for (const spell of [named, (name: string) => name.replace("base_model.model.", "")]) {
      await rewrite((name) => [spell(name)]);
      const out = await newFolder();
      await exportModel(model, { format: "peft", out, adapter });
      const written = readSafetensorsHeader(join(out, "adapter_model.safetensors")).map(({ name }) => name);
      expect(written.sort()).toEqual([...names].sort());
    }
    await rewrite((name) => [name, named(name)]);
    const refused = exportModel(model, { format: "peft", out: await newFolder(), adapter });
    await expect(refused).rejects.toThrow("two of its keys");
  });

  it("needs an adapter", async () => {
    const model = await openTiny("llama");
    const refused = exportModel(model, { format: "peft", out: await newFolder() });
    await expect(refused).rejects.toMatchObject({ name: "ZerothError", kind: "usage" });
  });
});
