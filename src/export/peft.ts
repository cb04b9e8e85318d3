import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../atomic.js";
import { ZerothError } from "../errors.js";
import { writers } from "../model/encodings.js";
import type { Parameter } from "../model/family.js";
import { writeSafetensors } from "../model/safetensors.js";
import { readTensorSync } from "../model/weights.js";
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS, isAdapter, readLora, tasks } from "../peft/adapter.js";
import { alphaOf, type LoraModule, moduleLeaf, peftPath } from "../peft/lora.js";
import { moduleOf } from "../peft/method.js";
import type { Format } from "./formats.js";

/** What most modules have. */
const commonest = (values: readonly number[]): number => {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].reduce((best, one) => (one[1] > best[1] ? one : best), [0, 0])[0];
};

/** The modules' names: by their last part where that says no more than it should, by whole paths otherwise. */
const targetsOf = (modules: readonly LoraModule[], parameters: readonly Parameter[]): readonly string[] => {
  const adapted = new Set(modules.map(({ module }) => module));
  const others = parameters.map(moduleOf).filter((module) => !adapted.has(module));
  const leaves = [...new Set([...adapted].map(moduleLeaf))];
  const isClear = leaves.every((leaf) => !others.some((other) => other === leaf || other.endsWith(`.${leaf}`)));
  return isClear ? leaves : [...adapted].map(peftPath);
};

/** A LoRA adapter in PEFT's plainest form: scales are alpha / r, and what differs from most modules is in its patterns. */
export const peft: Format = {
  writes: "folder",
  async write({ model, family, adapter, dtype, out }) {
    if (adapter === undefined || !isAdapter(adapter)) {
      throw new ZerothError("PEFT's format is for adapters: give one with --adapter.", { kind: "usage" });
    }
    const { modules, tensors } = readLora(adapter, { files: model, family });
    const rank = commonest(modules.map((module) => module.rank));
    const alpha = commonest(modules.map(alphaOf));
    const pattern = (of: (module: LoraModule) => number, usual: number) =>
      Object.fromEntries(
        modules.filter((module) => of(module) !== usual).map((module) => [peftPath(module.module), of(module)]),
      );
    const config = {
      alpha_pattern: pattern(alphaOf, alpha),
      base_model_name_or_path: model.origin.spec,
      bias: "none",
      fan_in_fan_out: family.parameters.some(({ turned }) => turned === true),
      inference_mode: true,
      init_lora_weights: true,
      layers_pattern: null,
      layers_to_transform: null,
      lora_alpha: alpha,
      lora_dropout: 0,
      modules_to_save: null,
      peft_type: "LORA",
      r: rank,
      rank_pattern: pattern((module) => module.rank, rank),
      revision: null,
      target_modules: [...targetsOf(modules, family.parameters)].sort(),
      task_type: tasks[family.reads],
      use_dora: false,
      use_rslora: false,
    };
    await mkdir(out, { recursive: true });
    const saved = [...tensors].map(([name, source]) => ({
      ...{ name, shape: source.shape, dtype },
      bytes: () => writers[dtype](readTensorSync(source)),
    }));
    await writeSafetensors(join(out, ADAPTER_WEIGHTS), saved);
    await writeFileAtomic(join(out, ADAPTER_CONFIG), `${JSON.stringify(config, null, 2)}\n`);
    return { tensors: saved.length, survivingChanges: 1 };
  },
};
