import { ZerothError } from "../errors.js";
import { writers } from "../model/encodings.js";
import { moduleOf, type Parameter } from "../model/family.js";
import { readTensorSync } from "../model/weights.js";
import { isAdapter, readLora, writeAdapter } from "../peft/adapter.js";
import { alphaOf, type LoraModule, loraFields, moduleLeaf, peftPath } from "../peft/lora.js";
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
    const base = { files: model, family };
    const { modules, tensors, saves } = readLora(adapter, base);
    const rank = commonest(modules.map((module) => module.rank));
    const alpha = commonest(modules.map(alphaOf));
    const pattern = (of: (module: LoraModule) => number, usual: number) =>
      Object.fromEntries(
        modules.filter((module) => of(module) !== usual).map((module) => [peftPath(module.module), of(module)]),
      );
    const fields = loraFields(base, {
      r: rank,
      lora_alpha: alpha,
      target_modules: targetsOf(modules, family.parameters),
      rank_pattern: pattern((module) => module.rank, rank),
      alpha_pattern: pattern(alphaOf, alpha),
      modules_to_save: saves,
    });
    const saved = [...tensors].map(([name, source]) => ({
      ...{ name, shape: source.shape, dtype },
      bytes: () => writers[dtype](readTensorSync(source)),
    }));
    await writeAdapter(out, base, { type: "LORA", fields }, saved);
    return { tensors: saved.length, survivingChanges: 1 };
  },
};
