import { evaluate as measure } from "../../index.js";
import { defineCommand } from "../command.js";
import { adapter, dataChoice, dataFlags, device, limit, model, optional, quantize, shots } from "../flags.js";
import { bar, counted, grouped, percent } from "../format.js";
import { openTold } from "../model.js";

export const evaluate = defineCommand({
  name: "evaluate",
  summary: "Measure a model, or a model with an adapter, on validation rows.",
  flags: { model, adapter: optional(adapter), ...dataFlags, limit, shots, quantize, device },
  examples: [
    ["--model ./model --task sst2 --data sst2/", "the model as it is"],
    ["--model ./model --adapter tuned --task sst2 --data sst2/ --json", "tuned, for a script"],
    ["--model ./model --task rte --data rte/ --shots 8 --limit 200", "with demonstrations in the context"],
  ],
  async run(options, { terminal }) {
    const { paint } = terminal;
    const base = await openTold(options.model, terminal);
    const { adapter: folder, threads, device: where, quantize: bits, limit: most, shots: demonstrations } = options;
    const result = await measure(base, {
      ...dataChoice(options),
      ...{ adapter: folder, threads, device: where, quantize: bits, limit: most, shots: demonstrations },
      onProgress: (done, total) =>
        terminal.status(`${paint.cyan(bar(done / total, 16))}  ${grouped(done)}/${counted(total, "row")}`),
    });
    terminal.status();
    const { task, metric, correct, total, value } = result;
    if (terminal.json) terminal.record({ task, metric, ...(correct === undefined ? {} : { correct }), total, value });
    else if (correct === undefined)
      terminal.line(`${paint.bold(`${task}: loss ${value.toFixed(4)}`)} nats a token over ${counted(total, "row")}`);
    else if (metric === "f1")
      terminal.line(
        `${paint.bold(`${task}: F1 ${percent(value)}`)}, exact match ${percent(correct / total)} (${grouped(correct)} of ${counted(total, "row")})`,
      );
    else
      terminal.line(
        `${paint.bold(`${task}: accuracy ${percent(value)}`)} (${grouped(correct)} of ${counted(total, "row")})`,
      );
    return 0;
  },
});
