import { predict as answer, rows } from "../../index.js";
import { defineCommand } from "../command.js";
import { adapter, dataFlags, device, model, optional, quantize, rowFlags } from "../flags.js";
import { counted } from "../format.js";
import { openTold } from "../model.js";

export const predict = defineCommand({
  name: "predict",
  summary: "Answer rows of JSON from standard input or a file; each comes back with its prediction and scores.",
  flags: { model, adapter: optional(adapter), data: optional(dataFlags.data), ...rowFlags, quantize, device },
  quiet: true,
  examples: [
    ["--model ./model --adapter tuned --task sst2 < rows.jsonl > answers.jsonl", "from standard input"],
    [
      '--model ./model --prompt "{review} It was" --options " bad, good" --data reviews.jsonl',
      "from a file, without an adapter",
    ],
  ],
  async run(options, { terminal }) {
    const base = await openTold(options.model, terminal);
    const {
      adapter: folder,
      task,
      prompt,
      options: answers,
      labels,
      threads,
      device: where,
      quantize: bits,
      data,
    } = options;
    const choice = { adapter: folder, task, prompt, options: answers, labels, threads, device: where, quantize: bits };
    let done = 0;
    for await (const { row, prediction, scores } of answer(base, rows(data ?? process.stdin), choice)) {
      terminal.record({ ...row, prediction, scores });
      terminal.status(`${counted(++done, "row")} answered`);
    }
    terminal.status();
    return 0;
  },
});
