import { ZerothError } from "../errors.js";
import type { Parameter } from "../model/family.js";
import { readTensorSync } from "../model/weights.js";
import { isAdapter, readAdapter } from "../peft/adapter.js";
import { alphaOf, type LoraModule, loraNames, moduleLeaf, peftPath } from "../peft/lora.js";
import { moduleOf } from "../peft/method.js";
import { adapterFacts, saveAdapter } from "../peft/save.js";
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
    const { modules, tensors } = readAdapter(adapter, family.parameters);
    const rank = commonest(modules.map((module) => module.rank));
    const alpha = commonest(modules.map(alphaOf));
    const pattern = (of: (module: LoraModule) => number, usual: number) =>
      Object.fromEntries(
        modules.filter((module) => of(module) !== usual).map((module) => [peftPath(module.module), of(module)]),
      );
    const patterns = { rank: pattern((module) => module.rank, rank), alpha: pattern(alphaOf, alpha) };
    const saved = modules.flatMap((module) => {
      const { a, b } = loraNames(module.module);
      return [
        { name: a, shape: [module.rank, module.inputs] },
        { name: b, shape: [module.outputs, module.rank] },
      ];
    });
    const settings = { rank, alpha, targets: targetsOf(modules, family.parameters), layers: null, patterns };
    const read = async (name: string): Promise<Float32Array> => {
      const source = tensors.get(name);
      if (source === undefined) throw new Error(`no tensor ${name}`);
      return readTensorSync(source);
    };
    await saveAdapter(out, model, saved, { ...settings, ...adapterFacts(family) }, read, dtype);
    return { tensors: saved.length, survivingChanges: 1 };
  },
};
