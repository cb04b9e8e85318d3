import { merge as join } from "../../index.js";
import { defineCommand } from "../command.js";
import { adapter, dtype, model, out } from "../flags.js";
import { openModel } from "../model.js";
import { tellWritten } from "../written.js";

export const merge = defineCommand({
  name: "merge",
  summary: "Write a model with its adapter worked into the weights, as a Hugging Face folder.",
  flags: { model, adapter, out, dtype },
  examples: [
    ["--model ./model --adapter tuned --out merged", "float32: nothing of the tuning is lost"],
    [
      "--model ./model --adapter tuned --out merged --dtype bfloat16",
      "half the size; says how much of the tuning survives rounding",
    ],
  ],
  async run(options, { terminal }) {
    const base = await openModel(options.model, terminal);
    terminal.status("Merging …");
    const result = await join(base, { adapter: options.adapter, out: options.out, dtype: options.dtype });
    terminal.status();
    tellWritten(terminal, result, options.dtype);
    return 0;
  },
});
