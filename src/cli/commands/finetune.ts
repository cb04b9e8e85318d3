import { type MethodChoice, type OptimizerChoice, finetune as start, ZerothError } from "../../index.js";
import { defineCommand } from "../command.js";
import { dataChoice, dataFlags, device, methodFlags, model, out, quantize, resume, trainingFlags } from "../flags.js";
import { counted, duration, rate } from "../format.js";
import { openModel } from "../model.js";
import { commandLine } from "../shell.js";
import { drive } from "../training.js";

const flags = { model, ...dataFlags, ...methodFlags, ...trainingFlags, out, resume, quantize, device };

/** What was said of the method; nothing if nothing was, so that a run that is gone on with keeps its own. */
const methodChoice = (options: {
  method?: "lora" | "full" | undefined;
  rank?: number | undefined;
  alpha?: number | undefined;
  targets?: string | undefined;
  layers?: readonly [number, number] | undefined;
}): MethodChoice | undefined => {
  const { method, rank, alpha, targets, layers } = options;
  const ofLora = rank ?? alpha ?? targets;
  if (method === "full") {
    if (ofLora === undefined) return { kind: "full", layers };
    throw new ZerothError("--rank, --alpha and --targets are LoRA's; --method full has none.", { kind: "usage" });
  }
  if (method === undefined && ofLora === undefined && layers === undefined) return undefined;
  const names = targets?.split(",").map((name) => name.trim());
  return { kind: "lora", rank, alpha, layers, targets: targets?.trim() === "all-linear" ? "all-linear" : names };
};

const optimizerChoice = (options: {
  optimizer?: OptimizerChoice["name"] | undefined;
  perturbation?: OptimizerChoice["perturbation"];
  learningRate?: number | undefined;
  epsilon?: number | undefined;
  queries?: number | undefined;
  hyperparameters?: Readonly<Record<string, number>> | undefined;
}): OptimizerChoice | undefined => {
  const { optimizer, ...rest } = options;
  const { perturbation, learningRate, epsilon, queries, hyperparameters } = rest;
  const said = { perturbation, learningRate, epsilon, queries, hyperparameters };
  if (optimizer === undefined && Object.values(said).every((value) => value === undefined)) return undefined;
  return { name: optimizer ?? "mezo", ...said };
};

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
    ["--config run.yaml --resume", "go on with a run, its options in a file"],
  ],
  async run(options, { terminal, program, args }) {
    const stop = new AbortController();
    const method = methodChoice(options);
    const optimizer = optimizerChoice(options);
    const { steps, batchSize, schedule, warmup, seed, trainRows, devRows, dataSeed, evalEvery, patience } = options;
    const base = await openModel(options.model, terminal);
    const run = start(base, {
      ...dataChoice(options),
      ...{
        method,
        optimizer,
        steps,
        batchSize,
        schedule,
        warmup,
        seed,
        trainRows,
        devRows,
        dataSeed,
        evalEvery,
        patience,
      },
      threads: options.threads,
      prefixCache: options.prefixCache,
      quantize: options.quantize,
      device: options.device,
      out: options.out,
      resume: options.resume,
      signal: stop.signal,
    });
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
