import {
  checkOptions,
  type DoctorProgress,
  type DoctorReport,
  type DoctorWarning,
  doctor as examine,
} from "../../index.js";
import { runChoice } from "../choices.js";
import { defineCommand } from "../command.js";
import { dataFlags, device, methodFlags, model, probe, quantize, trainingFlags } from "../flags.js";
import { bar, bytes, counted, duration, grouped, percent, rate } from "../format.js";
import { openTold } from "../model.js";

const number = (value: number): string =>
  value !== 0 && value < 1e-3 ? value.toExponential(1).replace(".0e", "e") : String(Number(value.toPrecision(2)));
const times = (ratio: number): string => `${grouped(Math.round(Number(ratio.toPrecision(2))))} times`;

type Check = DoctorWarning["check"];

/** What each check found, in a line; nothing where it was not made. */
const summaries: Readonly<Record<Check | "time", (report: DoctorReport) => string | undefined>> = {
  noise({ noise: { epsilon, radii } }) {
    const planned = radii.find((report) => report.epsilon === epsilon);
    return planned === undefined
      ? undefined
      : `ε ${number(epsilon)} changes the loss by ${number(planned.difference ?? Number.NaN)}, ${times(planned.signalToNoise)} its rounding noise; curvature bends the slope by ${percent(planned.bias ?? 1)}`;
  },
  "learning rate"({ rates: { learningRate, rates, suggested }, cost: { steps } }) {
    const highest = rates.findLast(({ verdict }) => verdict === "lowers")?.learningRate;
    return [
      ...(highest === undefined
        ? []
        : [`${number(learningRate)} lowers the loss; for a few steps, up to ${number(highest)} does`]),
      ...(suggested === null ? [] : [`suggested for ${counted(steps, "step")}: ${number(suggested)}`]),
    ].join("; ");
  },
  rounding({ moved }) {
    if (moved === null) return undefined;
    return `a step moves ${percent(moved.step.float32)} of the weights; merged, a run moves ${percent(moved.run.bfloat16)} in bfloat16, ${percent(moved.run.float16)} in float16`;
  },
  packing: ({ packing: { tokensPerStep, packsPerStep, saved } }) =>
    `${counted(Math.round(tokensPerStep), "token")} a step in ${number(packsPerStep)} packs, ${percent(saved)} fewer than padded`,
  memory: ({ cost: { rssBytes, expectedPeakRssBytes, trainableParameters, parameters } }) =>
    `${bytes(rssBytes)}, ${bytes(expectedPeakRssBytes)} at the peak; ${trainableParameters === parameters ? "all" : grouped(trainableParameters)} of ${grouped(parameters)} parameters trained`,
  time: ({ cost: { steps, seconds, secondsPerStep } }) =>
    `${rate(secondsPerStep)}: ${counted(steps, "step")} in ${duration(seconds)}`,
};

const phrases: Readonly<Record<DoctorProgress["check"], string>> = {
  steps: "taking steps",
  noise: "measuring the noise floor",
  "learning rate": "trying learning rates",
  rounding: "counting the weights that move",
};

export const doctor = defineCommand({
  name: "doctor",
  summary: "Look at a model and data before a run: will training with forward passes work, and with which settings?",
  flags: { model, ...dataFlags, ...methodFlags, ...trainingFlags, probe, quantize, device },
  examples: [
    ["--model ./model --task sst2 --data sst2/", "the run that finetune would make of the same flags"],
    [
      '--model model.gguf --prompt "{review} It was" --options " bad, good" --data reviews.jsonl --method full --epsilon 1e-4',
      "another method and ε",
    ],
    ["--model ./model --task sst2 --data sst2/ --no-probe --json", "quicker, for a script"],
  ],
  async run(options, { terminal }) {
    const { paint } = terminal;
    const choice = runChoice(options);
    // Before a model is loaded, or even fetched.
    checkOptions(choice);
    const base = await openTold(options.model, terminal);
    const report = await examine(base, {
      ...choice,
      probe: options.probe,
      onProgress: ({ check, done, total }) =>
        terminal.status(`${paint.cyan(bar(done / total, 16))}  ${phrases[check]}`),
    });
    terminal.status();
    if (terminal.json) terminal.record(report);
    for (const [check, summary] of Object.entries(summaries)) {
      const warnings = report.warnings.filter((warning) => warning.check === check);
      for (const { message, advice } of warnings) {
        terminal.line(`${paint.yellow("warning")}  ${check.padEnd(13)}  ${message}`);
        terminal.line(`${" ".repeat(24)}→ ${advice}`);
      }
      const text = warnings.length > 0 ? undefined : summary(report);
      if (text !== undefined) terminal.line(`${paint.green("ok     ")}  ${check.padEnd(13)}  ${text}`);
    }
    return 0;
  },
});
