import { existsSync, readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { writeFileAtomic } from "../atomic.js";
import { messageOf, ZerothError } from "../errors.js";
import { python } from "../model/folder-weights.js";
import type { Json } from "../model/json.js";
import { readSafetensorsHeader, type TensorToWrite, writeSafetensors } from "../model/safetensors.js";
import { readTensorSync, type TensorSource } from "../model/weights.js";
import { oneLine } from "../one-line.js";
import type { Base, PeftMethod } from "./define.js";
import { type LoraModule, loraConfig, savedModules } from "./lora.js";
import type { Method, Trainable } from "./method.js";
import { methods } from "./methods.js";
import { encoded, type Reader } from "./save.js";

/** PEFT's two file names. */
const ADAPTER_WEIGHTS = "adapter_model.safetensors";
export const ADAPTER_CONFIG = "adapter_config.json";
/** What it wrote before. */
const ADAPTER_PICKLE = "adapter_model.bin";

/** Whether a path is an adapter, rather than a model that was tuned whole. */
export const isAdapter = (path: string): boolean => existsSync(join(path, ADAPTER_CONFIG));

export interface LoadedAdapter {
  readonly method: Method;
  /** As the method's schema has it. */
  readonly config: unknown;
  /** By canonical name: those of the method, no more and no less. */
  readonly tensors: ReadonlyMap<string, TensorSource>;
}

const table: readonly PeftMethod[] = Object.values(methods);
const folders = table.flatMap(({ folder }) => folder ?? []);
const common = z.looseObject({ peft_type: z.string(), base_model_name_or_path: z.string().nullish() });

/** @throws ZerothError that names the file, and the field that is missing or not built */
const readConfig = (file: string) => {
  const unusable = (error: z.ZodError, what = "adapter") =>
    new ZerothError(
      `${file}: not a configuration of ${what} that Zeroth can use.\n${z.prettifyError(error).split("\n").slice(0, 2).join(" ")}`,
    );
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new ZerothError(
      `${file}: cannot be read as an adapter configuration (${messageOf(error)}).\nAn adapter folder holds ${ADAPTER_CONFIG} and ${ADAPTER_WEIGHTS}.`,
    );
  }
  const named = common.safeParse(json);
  if (!named.success) throw unusable(named.error, "an adapter");
  const { peft_type: type, base_model_name_or_path: base = null } = named.data;
  const folder = folders.find((one) => one.type === type);
  if (folder === undefined)
    throw new ZerothError(
      `${file}: adapters of the peft_type ${oneLine(type, 40)} are not known. Known: ${folders.map((one) => one.type).join(", ")}.`,
    );
  const parsed = folder.schema.safeParse(json);
  if (!parsed.success) throw unusable(parsed.error, `a ${type} adapter`);
  return { folder, config: parsed.data, base };
};

/** @throws ZerothError for a folder that has its weights as a pickle alone */
const refusePickle = (folder: string): void => {
  if (existsSync(join(folder, ADAPTER_WEIGHTS)) || !existsSync(join(folder, ADAPTER_PICKLE))) return;
  throw new ZerothError(
    `${folder} holds ${ADAPTER_PICKLE}, a Python pickle, which may run code when read; Zeroth reads safetensors. Convert it once:\n${python(
      "import torch, safetensors.torch as s; d = sys.argv[1]; s.save_file({k: v.contiguous() for k, v in torch.load(d + '/adapter_model.bin', weights_only=True).items()}, d + '/adapter_model.safetensors')",
      folder,
    )}`,
  );
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

const tensorsOf = ({ tensors, frozen = [] }: Method): readonly Trainable[] => [...tensors, ...frozen];

/**
 * Reads an adapter folder and matches it to a model, key by key.
 * @throws ZerothError that lists the keys or shapes which do not match
 */
export const readAdapter = (path: string, model: Base): LoadedAdapter => {
  const { folder, config, base } = readConfig(join(path, ADAPTER_CONFIG));
  const file = join(path, ADAPTER_WEIGHTS);
  refusePickle(path);
  const sources = readSafetensorsHeader(file);
  const tensors = new Map(sources.map((source) => [peftKey(source.name), source]));
  if (tensors.size < sources.length) {
    throw new ZerothError(
      `${file}: two of its keys stand for one tensor (with and without ".default", say): not an adapter of PEFT's.`,
    );
  }
  const method = folder.read(model, { config, folder: path, tensors });
  const expected = new Map(tensorsOf(method).map(({ name, shape }) => [name, shape]));
  const unknown = [...tensors.keys()].filter((name) => !expected.has(name));
  const missing = [...expected.keys()].filter((name) => !tensors.has(name));
  const misshapen = [...expected].flatMap(([name, shape]) => {
    const source = tensors.get(name);
    return source === undefined || String(source.shape) === String(shape)
      ? []
      : [`${name} is [${source.shape}], the model needs [${shape}]`];
  });
  if (unknown.length + missing.length + misshapen.length > 0 || expected.size === 0) {
    const faults = [
      unknown.length > 0 ? `Keys that match nothing of the model: ${list(unknown)}.` : "",
      missing.length > 0 ? `Keys that are missing: ${list(missing)}.` : "",
      misshapen.length > 0 ? `Shapes that differ: ${list(misshapen)}.` : "",
      tensors.size === 0 ? "The file holds no tensors." : "",
    ].filter((line) => line !== "");
    throw new ZerothError(
      `${file}: this adapter was made for another model (base: ${oneLine(base ?? "not said")}).\n${faults.join(" ")}`,
    );
  }
  for (const source of tensors.values()) {
    if (!readTensorSync(source).every(Number.isFinite)) {
      throw new ZerothError(
        `${file}: ${oneLine(source.name)} holds numbers that are not finite: the training that made it diverged.\nTake an earlier step of it (zeroth replay --step), or train again with a smaller learning rate.`,
      );
    }
  }
  return { method, config, tensors };
};

/**
 * Reads a LoRA adapter, module by module.
 * @throws ZerothError as `readAdapter` does, and for an adapter of another kind
 */
export const readLora = (
  path: string,
  model: Base,
): {
  readonly modules: readonly LoraModule[];
  readonly tensors: LoadedAdapter["tensors"];
  /** PEFT's `modules_to_save`. */
  readonly saves: readonly string[] | null;
} => {
  const { method, config, tensors } = readAdapter(path, model);
  if (method.kind !== "lora")
    throw new ZerothError(
      `${path} is an adapter of the kind ${method.kind}, and this format has a place for LoRA alone.`,
    );
  const parsed = loraConfig.parse(config);
  return { modules: savedModules(model, { config: parsed, tensors }), tensors, saves: parsed.modules_to_save ?? null };
};

const tasks = { next: "CAUSAL_LM", masked: null, class: "SEQ_CLS" } as const;

/**
 * Writes an adapter folder: its tensors, what goes beside them, and last the configuration, without which it is none. Keys are sorted, so
 * that equal adapters give equal bytes.
 *
 * @param fields of the configuration, besides those that every adapter has
 * @throws ZerothError when the folder cannot be written
 */
export const writeAdapter = async (
  path: string,
  { files, family }: Base,
  { type, fields }: { readonly type: string; readonly fields: Json },
  tensors: readonly TensorToWrite[],
  beside: () => Promise<void> = async () => {},
): Promise<void> => {
  await mkdir(path, { recursive: true });
  await writeSafetensors(join(path, ADAPTER_WEIGHTS), tensors);
  await beside();
  const config: Json = {
    modules_to_save: null,
    ...fields,
    base_model_name_or_path: files.origin.spec,
    inference_mode: true,
    peft_type: type,
    revision: null,
    task_type: tasks[family.reads],
  };
  const sorted = Object.fromEntries(Object.entries(config).sort(([a], [b]) => (a < b ? -1 : 1)));
  await writeFileAtomic(join(path, ADAPTER_CONFIG), `${JSON.stringify(sorted, null, 2)}\n`);
};

/**
 * Writes what a method trained as an adapter folder.
 *
 * @param options the method's, as they were given
 * @throws ZerothError when the folder cannot be written
 */
export const saveAdapter = async (
  path: string,
  model: Base,
  { name, folder }: PeftMethod,
  { method, options }: { readonly method: Method; readonly options: Json },
  read: Reader,
): Promise<void> => {
  if (folder === undefined) throw new Error(`${name} is saved as a whole model`);
  const tensors = tensorsOf(method).map(({ name: tensor, shape }) => ({
    ...{ name: tensor, shape, dtype: "F32" as const },
    bytes: () => encoded(read(tensor), "F32"),
  }));
  const { type } = folder;
  const fields = folder.config(model, options, method);
  await writeAdapter(path, model, { type, fields }, tensors, () => folder.write(path, method));
};
