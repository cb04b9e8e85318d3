import { exportModel } from "../../index.js";
import { defineCommand } from "../command.js";
import { adapter, dtype, exportFlags, model, optional } from "../flags.js";
import { openModel } from "../model.js";
import { tellWritten } from "../written.js";

export const exportCommand = defineCommand({
  name: "export",
  summary: "Write a model or an adapter for another program: llama.cpp, transformers.js, PEFT.",
  flags: { model, adapter: optional(adapter), ...exportFlags, dtype },
  examples: [
    ["--model ./model --adapter tuned --format gguf --out tuned.gguf --dtype float16", "for llama.cpp, in one file"],
    ["--model ./model --adapter tuned --format gguf --adapter-only --out lora.gguf", "for llama.cpp's --lora"],
    ["--model ./model --adapter tuned --format onnx --out ./tuned-onnx", "for transformers.js, in Node or a browser"],
    ["--model ./model --adapter tuned --format peft --out peft-adapter", "in PEFT's plainest form"],
  ],
  async run(options, { terminal }) {
    const opened = await openModel(options.model, terminal);
    terminal.status("Writing …");
    const { adapter: path, format, adapterOnly, dtype: type, out } = options;
    const result = await exportModel(opened, { adapter: path, format, adapterOnly, dtype: type, out });
    terminal.status();
    tellWritten(terminal, result, type);
    return 0;
  },
});
