import type { WritableEncoding } from "../model/encodings.js";
import type { BoundFamily } from "../model/family.js";
import type { OpenModel } from "../model/open.js";
import { gguf } from "./gguf.js";
import { onnxFormat } from "./onnx.js";
import { peft } from "./peft.js";

/** What is to be written. */
export interface Wanted {
  readonly model: OpenModel;
  readonly family: BoundFamily;
  /** Absent: the model as it is. */
  readonly adapter: string | undefined;
  /** The adapter by itself, for a program that has the model already. */
  readonly adapterOnly: boolean;
  readonly dtype: WritableEncoding;
  readonly out: string;
}

/** What was written. */
export interface Written {
  readonly tensors: number;
  /** Of the weights that the adapter changes, the fraction still changed after rounding; 1 where nothing was rounded. */
  readonly survivingChanges: number;
}

/** One layout of another program. */
export interface Format {
  /** What `out` is: a file, or a folder that is empty or not there yet. */
  readonly writes: "file" | "folder";
  readonly write: (wanted: Wanted) => Promise<Written>;
}

/** Every format: one more is one more file and one more row. */
export const formats = { gguf, onnx: onnxFormat(), peft } as const satisfies Readonly<Record<string, Format>>;
export type FormatName = keyof typeof formats;
export const formatNames = Object.keys(formats) as readonly FormatName[];
