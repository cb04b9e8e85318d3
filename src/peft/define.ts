import { z } from "zod";
import { ZerothError } from "../errors.js";
import type { Json } from "../model/json.js";
import type { RunnableModel } from "../model/onnx/imported.js";
import type { OpenModel } from "../model/open.js";
import type { TensorSource } from "../model/weights.js";
import type { Method } from "./method.js";
import type { MethodOptions, ValuesOf } from "./options.js";

/** The model that a set belongs to. */
export interface Base {
  readonly files: OpenModel;
  readonly family: RunnableModel;
}

/** An adapter folder that is read: its configuration as the schema has it, and the header of its tensors' file. */
export interface Saved<C> {
  readonly config: C;
  readonly folder: string;
  readonly tensors: ReadonlyMap<string, TensorSource>;
}

/** How a set is kept in a folder of its own, in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`. */
interface Folder<O extends MethodOptions, S extends z.ZodType> {
  /** The `peft_type` of its configuration. */
  readonly type: string;
  /** The fields of the configuration that change what the adapter computes; what is not built is refused. */
  readonly schema: S;
  /** The configuration's fields besides those that every adapter has. */
  config(base: Base, options: ValuesOf<O>, method: Method): Json;
  /** The set that a folder holds, on a model: its tensors are those that the file must have. */
  read(base: Base, saved: Saved<z.output<S>>): Method;
  /** Writes what goes beside the tensors. */
  write?(folder: string, method: Method): Promise<void>;
}

interface Definition<O extends MethodOptions, S extends z.ZodType> {
  readonly name: string;
  /** What is trained, in a line. */
  readonly summary: string;
  readonly options: O;
  /** Where to start from: an optimizer's numbers for adapters or for a model's own weights, times these. */
  readonly tuning: { readonly of: "adapter" | "full"; readonly learningRate?: number; readonly epsilon?: number };
  /**
   * The set on a model.
   * @throws ZerothError (usage) where the model has nothing of the kind
   */
  bind(base: Base, options: ValuesOf<O>, seed: bigint): Method;
  /** Absent where what is trained is saved as a whole model. */
  readonly folder?: Folder<O, S>;
}

/** A method closed over the types of its options, so that a table can hold them all. */
export interface PeftMethod<O extends MethodOptions = MethodOptions> {
  readonly name: string;
  readonly summary: string;
  readonly options: O;
  readonly tuning: Definition<O, z.ZodType>["tuning"];
  /** @throws ZerothError (usage) that names the option which is unknown or out of range */
  parse(given: Json): Json;
  /** @throws ZerothError (usage), also for options out of range */
  bind(base: Base, given: Json, seed: bigint): Method;
  readonly folder?: {
    readonly type: string;
    readonly schema: z.ZodType;
    config(base: Base, given: Json, method: Method): Json;
    read(base: Base, saved: Saved<unknown>): Method;
    write(folder: string, method: Method): Promise<void>;
  };
}

const optionName = (name: string): string => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** A method of the table `methods.ts`. */
export const defineMethod = <const O extends MethodOptions, S extends z.ZodType = z.ZodType>(
  definition: Definition<O, S>,
): PeftMethod<O> => {
  const { name, options, folder } = definition;
  const schema = z.strictObject(
    Object.fromEntries(Object.entries(options).map(([key, option]) => [key, option.schema])),
  );
  const parse = (given: Json): ValuesOf<O> => {
    const parsed = schema.safeParse(given);
    if (parsed.success) return parsed.data as ValuesOf<O>;
    const [issue] = parsed.error.issues;
    const message =
      issue?.code === "unrecognized_keys"
        ? `${issue.keys.map(optionName).join(", ")}: --method ${name} has none. Its options: ${Object.keys(options).map(optionName).join(", ") || "none"}.`
        : `${optionName(String(issue?.path[0] ?? "options"))}: ${issue?.message ?? "not valid"}.`;
    throw new ZerothError(message, { kind: "usage" });
  };
  return {
    ...{ name, summary: definition.summary, options, tuning: definition.tuning, parse },
    bind: (base, given, seed) => definition.bind(base, parse(given), seed),
    ...(folder === undefined
      ? {}
      : {
          folder: {
            ...{ type: folder.type, schema: folder.schema },
            config: (base, given, method) => folder.config(base, parse(given), method),
            // What the folder's own schema has parsed.
            read: (base, saved) => folder.read(base, saved as Saved<z.output<S>>),
            write: async (path, method) => folder.write?.(path, method),
          },
        }),
  };
};
