import { counted, percent } from "./format.js";
import type { Terminal } from "./terminal.js";

/** Says what was written where, and what of an adapter survived the rounding to `dtype`. */
export const tellWritten = (
  terminal: Terminal,
  result: { readonly tensors: number; readonly out: string; readonly survivingChanges: number },
  dtype = "float32",
): void => {
  if (terminal.json) terminal.record(result);
  terminal.line(`Wrote ${counted(result.tensors, "tensor")} to ${result.out}.`);
  if (result.survivingChanges < 1)
    terminal.line(
      `${percent(result.survivingChanges)} of the changed weights are still changed after rounding to ${dtype}.`,
    );
};
