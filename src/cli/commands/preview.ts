import { preview as render } from "../../index.js";
import { defineCommand } from "../command.js";
import { dataChoice, dataFlags, dataSeed, limit, model, perClass } from "../flags.js";
import { openModel } from "../model.js";

export const preview = defineCommand({
  name: "preview",
  summary: "Print the tokens of an example, with those that the loss is on in brackets.",
  flags: { model, ...dataFlags, limit, perClass, dataSeed },
  examples: [
    ["--model ./model --task sst2 --data sst2/", "the first row"],
    ["--model ./model --task sst2 --data sst2/ --per-class 16 --data-seed 13", "the first row of a few-shot run"],
    ["--model ./model --format chat --data chats.jsonl --limit 3", "the loss is on the assistant's turns"],
  ],
  async run(options, { terminal }) {
    const base = await openModel(options.model, terminal);
    const text = await render(base, {
      ...dataChoice(options),
      limit: options.limit,
      perClass: options.perClass,
      dataSeed: options.dataSeed,
      colour: terminal.paint.isColorSupported,
    });
    if (terminal.json) terminal.record({ preview: text });
    terminal.line(text);
    return 0;
  },
});
