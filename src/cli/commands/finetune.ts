import { checkOptions, finetune as start } from "../../index.js";
import { runChoice } from "../choices.js";
import { defineCommand } from "../command.js";
import { dataFlags, device, methodFlags, model, noiseCheck, out, quantize, resume, trainingFlags } from "../flags.js";
import { counted, duration, rate } from "../format.js";
import { openModel } from "../model.js";
import { commandLine } from "../shell.js";
import { drive } from "../training.js";

const flags = { model, ...dataFlags, ...methodFlags, ...trainingFlags, noiseCheck, out, resume, quantize, device };

export const finetune = defineCommand({
  name: "finetune",
  summary: "Tune a model on your rows with forward passes only.",
  flags,
  examples: [
    [
      "--model HuggingFaceTB/SmolLM2-135M-Instruct --task sst2 --data sst2/ --out tuned",
      "a model from the hub, a published task",
    ],
    [
      '--model model.gguf --prompt "{review} It was" --options " bad, good" --data reviews.jsonl --out tuned',
      "a task of your own",
    ],
    [
      "--model ./model --format chat --data chats.jsonl --method full --steps 5000 --out tuned",
      "all parameters, on chats",
    ],
    [
      "--model ./model --task sst2 --data sst2/ --method full --optimizer lozo --hyperparameters rank=4 --out tuned",
      "another optimizer and one of its hyperparameters",
    ],
    ["--config run.yaml --resume", "go on with a run, its options in a file"],
  ],
  async run(options, { terminal, program, args }) {
    const stop = new AbortController();
    const { out: folder, resume: again, noiseCheck: check } = options;
    const choice = {
      ...runChoice(options),
      ...{ out: folder, resume: again, noiseCheck: check, signal: stop.signal },
    };
    // Before a model is loaded, or even fetched.
    checkOptions(choice);
    const run = start(await openModel(options.model, terminal), choice);
    const result = await drive(run, terminal, stop);
    const interrupted = result.outcome === "interrupted";
    if (terminal.json) {
      const { steps: taken, loss, secondsPerStep, peakRssBytes, out: folder, keptStep, outcome } = result;
      terminal.record({ steps: taken, loss, secondsPerStep, peakRssBytes, out: folder, keptStep, outcome });
    }
    if (interrupted) {
      const again = args.includes("--resume") ? args : [...args, "--resume"];
      terminal.warn(
        `Stopped after ${counted(result.steps, "step")}; nothing is lost. Go on with:\n  ${commandLine(program, again)}`,
      );
      return 130;
    }
    const { paint } = terminal;
    const headline =
      result.outcome === "already finished"
        ? `This run finished before: ${counted(result.steps, "step")}. Nothing was changed.`
        : `${result.outcome === "finished" ? "Done" : "Stopped early"}: ${counted(result.steps, "step")} at ${rate(result.secondsPerStep)} (${duration(result.steps * result.secondsPerStep)}), loss ${result.loss.toFixed(4)}.`;
    terminal.line(paint.bold(headline));
    if (result.keptStep !== result.steps)
      terminal.line(`Kept: the weights after step ${result.keptStep}, the best on the dev rows.`);
    terminal.line(`  weights     ${result.out}`);
    terminal.line(`  loss curve  ${result.chart}`);
    terminal.line("Next:");
    terminal.line(`  ${commandLine(program, evaluateArgs(options))}`);
    return 0;
  },
});

type Asked = { model: string; data: string; out: string } & Partial<
  Record<"task" | "prompt" | "options" | "labels" | "format", string | undefined>
>;

const evaluateArgs = ({ model: spec, data, out: folder, ...rest }: Asked): readonly string[] => [
  ...["evaluate", "--model", spec, "--adapter", folder],
  ...(["task", "prompt", "options", "labels", "format"] as const).flatMap((name) => {
    const value = rest[name];
    return value === undefined ? [] : [`--${name}`, value];
  }),
  ...["--data", data],
];
