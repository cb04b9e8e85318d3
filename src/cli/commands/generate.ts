import { generate as write } from "../../index.js";
import { defineCommand } from "../command.js";
import { adapter, device, generationFlags, model, optional, quantize } from "../flags.js";
import { counted } from "../format.js";
import { onInterrupt } from "../interrupt.js";
import { openModel } from "../model.js";

export const generate = defineCommand({
  name: "generate",
  summary: "Go on with a text, as it comes, by a model or a model with an adapter.",
  flags: { model, adapter: optional(adapter), ...generationFlags, quantize, device },
  quiet: true,
  examples: [
    ['--model ./model --prompt "Once upon a time"', "the likeliest token each time"],
    [
      '--model ./model --adapter tuned --chat --prompt "Who are you?" --temperature 0.7 --seed 1',
      "an answer, drawn; a seed always draws the same one",
    ],
    ['--model ./model --prompt "Q: 2+2? A:" --stop "\\n" --json', "one line, for a script"],
  ],
  async run(options, { terminal }) {
    const base = await openModel(options.model, terminal);
    const { adapter: folder, threads, device: where, quantize: bits, prompt, chat, ...rest } = options;
    const { maxTokens, temperature, topP, topK, seed, stop } = rest;
    const abort = new AbortController();
    const ignore = onInterrupt(() => abort.abort());
    try {
      terminal.status("Loading …");
      for await (const event of write(base, {
        ...(chat ? { messages: [{ role: "user", content: prompt }] } : { prompt }),
        ...{ maxTokens, temperature, topP, topK, seed, stop, signal: abort.signal },
        ...{ adapter: folder, threads, device: where, quantize: bits },
      })) {
        if (event.type === "text") {
          terminal.text(event.text);
          continue;
        }
        const { result } = event;
        if (terminal.json) terminal.record(result);
        else {
          terminal.text(result.text.endsWith("\n") ? "" : "\n");
          // The first token comes with the prompt.
          const speed = result.tokens > 1 ? `, ${((result.tokens - 1) / result.seconds).toPrecision(3)} tokens/s` : "";
          terminal.warn(
            `${counted(result.tokens, "token")} after ${result.promptTokens} of the prompt${speed} (${endings[result.reason]})`,
          );
        }
        if (result.reason === "interrupted") return 130;
      }
      return 0;
    } finally {
      ignore();
      terminal.status();
    }
  },
});

const endings = {
  end: "the model ended it",
  stop: "at a stop sequence",
  length: "at the most tokens",
  interrupted: "interrupted",
} as const;
