import { replay as rebuild } from "../../index.js";
import { defineCommand } from "../command.js";
import { atStep, model, out, runFolder } from "../flags.js";
import { counted } from "../format.js";
import { openModel } from "../model.js";

export const replay = defineCommand({
  name: "replay",
  summary: "Rebuild a run's weights at any step from the base model and the run's journal, bit for bit.",
  flags: { model, run: runFolder, out, step: atStep },
  examples: [
    ["--model ./model --run tuned --out again", "the weights that the run kept"],
    ["--model ./model --run tuned --step 500 --out at-500", "those after step 500"],
  ],
  async run(options, { terminal }) {
    const base = await openModel(options.model, terminal);
    terminal.status("Replaying …");
    const result = await rebuild(base, {
      run: options.run,
      out: options.out,
      step: options.step,
      threads: options.threads,
    });
    terminal.status();
    if (terminal.json) terminal.record(result);
    terminal.line(`Replayed ${counted(result.step, "step")} of ${options.run} into ${result.out}.`);
    return 0;
  },
});
