import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { messageOf, ZerothError } from "../errors.js";
import type { Parameter } from "../model/family.js";
import { readSafetensorsHeader } from "../model/safetensors.js";
import { readTensorSync, type TensorSource } from "../model/weights.js";
import { oneLine } from "../one-line.js";
import { type LoraConfig, type LoraModule, loraConfig, loraModules, loraNames, peftPath } from "./lora.js";

/** PEFT's two file names. */
export const ADAPTER_WEIGHTS = "adapter_model.safetensors";
export const ADAPTER_CONFIG = "adapter_config.json";

/** Whether a path is an adapter, rather than a model that was tuned whole. */
export const isAdapter = (path: string): boolean => existsSync(join(path, ADAPTER_CONFIG));

export interface LoadedAdapter {
  readonly config: LoraConfig;
  readonly modules: readonly LoraModule[];
  readonly tensors: ReadonlyMap<string, TensorSource>;
}

const readConfig = (file: string): LoraConfig => {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new ZerothError(
      `${file}: cannot be read as an adapter configuration (${messageOf(error)}).\nAn adapter folder holds ${ADAPTER_CONFIG} and ${ADAPTER_WEIGHTS}.`,
    );
  }
  const parsed = loraConfig.safeParse(json);
  if (!parsed.success) {
    throw new ZerothError(
      `${file}: not a LoRA configuration that Zeroth can use.\n${z.prettifyError(parsed.error).split("\n").slice(0, 2).join(" ")}`,
    );
  }
  return parsed.data;
};

/** A key as PEFT saves it; state dictionaries of models with adapters name the adapter too, and some tools leave PEFT's prefix out. */
const peftKey = (key: string): string => {
  const [, module, side] = /^(?:base_model\.model\.)?(.+)\.lora_([AB])(?:\.default)?\.weight$/.exec(key) ?? [];
  return module === undefined ? key : `base_model.model.${module}.lora_${side}.weight`;
};

const list = (names: readonly string[]): string => {
  const shown = names
    .slice(0, 3)
    .map((name) => oneLine(name))
    .join(", ");
  return names.length > 3 ? `${shown} and ${names.length - 3} more` : shown;
};

/**
 * Reads a PEFT LoRA folder and matches it to a model, key by key.
 * @throws ZerothError that lists the keys or shapes which do not match
 */
export const readAdapter = (folder: string, parameters: readonly Parameter[]): LoadedAdapter => {
  const config = readConfig(join(folder, ADAPTER_CONFIG));
  const file = join(folder, ADAPTER_WEIGHTS);
  const sources = readSafetensorsHeader(file);
  const tensors = new Map(sources.map((source) => [peftKey(source.name), source]));
  if (tensors.size < sources.length) {
    throw new ZerothError(
      `${file}: two of its keys stand for one tensor (with and without ".default", say): not an adapter of PEFT's.`,
    );
  }
  // The file decides which modules are adapted; the configuration only says how (PEFT writes no entry for an absent one).
  const present = [...tensors.keys()]
    .filter((name) => name.endsWith(".lora_A.weight"))
    .map((name) => name.slice("base_model.model.".length, -".lora_A.weight".length));
  const modules = loraModules({ ...config, target_modules: "all-linear" }, parameters).filter(({ module }) =>
    present.includes(peftPath(module)),
  );
  const expected = new Map(
    modules.flatMap(({ module, rank, inputs, outputs }): [string, readonly number[]][] => {
      const names = loraNames(module);
      return [
        [names.a, [rank, inputs]],
        [names.b, [outputs, rank]],
      ];
    }),
  );
  const unknown = [...tensors.keys()].filter((name) => !expected.has(name));
  const missing = [...expected.keys()].filter((name) => !tensors.has(name));
  const misshapen = [...expected].flatMap(([name, shape]) => {
    const source = tensors.get(name);
    return source === undefined || String(source.shape) === String(shape)
      ? []
      : [`${name} is [${source.shape}], the model needs [${shape}]`];
  });
  if (unknown.length + missing.length + misshapen.length > 0 || modules.length === 0) {
    const faults = [
      unknown.length > 0 ? `Keys that match no linear layer: ${list(unknown)}.` : "",
      missing.length > 0 ? `Keys that are missing: ${list(missing)}.` : "",
      misshapen.length > 0 ? `Shapes that differ: ${list(misshapen)}.` : "",
      tensors.size === 0 ? "The file holds no tensors." : "",
    ].filter((line) => line !== "");
    throw new ZerothError(
      `${file}: this adapter was made for another model (base: ${oneLine(config.base_model_name_or_path ?? "not said")}).\n${faults.join(" ")}`,
    );
  }
  for (const source of tensors.values()) {
    if (!readTensorSync(source).every(Number.isFinite)) {
      throw new ZerothError(
        `${file}: ${oneLine(source.name)} holds numbers that are not finite: the training that made it diverged.\nTake an earlier step of it (zeroth replay --step), or train again with a smaller learning rate.`,
      );
    }
  }
  return { config, modules, tensors };
};
