import { bias } from "./bias.js";
import type { PeftMethod } from "./define.js";
import { full } from "./full.js";
import { lora } from "./lora.js";
import type { GivenOf } from "./options.js";
import { prefix } from "./prefix.js";
import { prompt } from "./prompt.js";
import { sparse } from "./sparse.js";
import { tensorTrain } from "./tensor-train.js";

/** Every method: one more is one file and one row. The first one is the default. */
export const methods = {
  ...{ lora, full, bias, prefix, prompt, sparse },
  "tensor-train": tensorTrain,
} satisfies Readonly<Record<string, PeftMethod>>;

export type MethodName = keyof typeof methods;
export const methodNames = Object.keys(methods) as [MethodName, ...MethodName[]];

/** The options that a method takes, as they may be given. */
export type MethodOptionsOf<N extends MethodName> = GivenOf<(typeof methods)[N]["options"]>;
