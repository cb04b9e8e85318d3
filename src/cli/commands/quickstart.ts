import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { finetune, lora, type Model, mezo, predict, rows } from "../../index.js";
import { defineCommand } from "../command.js";
import { optional, out, trainingFlags } from "../flags.js";
import { counted, duration, grouped, percent } from "../format.js";
import { openModel } from "../model.js";
import { commandLine } from "../shell.js";
import type { Terminal } from "../terminal.js";
import { drive } from "../training.js";

const asset = (name: string): string => fileURLToPath(new URL(`../../../assets/${name}`, import.meta.url));

/** The task: how the child in a one-sentence story felt. */
const task = { prompt: "{text} {name} was so", options: " sad, happy", labels: "sad,happy" };
/** Method and optimizer are at their defaults: LoRA of rank 8 on queries and values, MeZO. */
const training = { method: lora(), optimizer: mezo(), batchSize: 16, devRows: 0 };
const STEPS = 600;

/** Lies in a folder that a quickstart made: such a folder, and no other, is made anew by the next one. */
const MARK = ".zeroth-quickstart";

const makeAnew = (folder: string): void => {
  const mark = join(folder, MARK);
  if (!existsSync(folder)) mkdirSync(folder, { recursive: true });
  else if (!existsSync(mark) && readdirSync(folder).length > 0) return;
  writeFileSync(mark, "");
  for (const name of ["adapter_model.safetensors", "adapter_config.json", "README.md", "run"]) {
    rmSync(join(folder, name), { recursive: true, force: true });
  }
};

interface Answer {
  readonly text: string;
  readonly label: string;
  readonly prediction: string;
  readonly right: boolean;
}

const answers = async (
  model: Model,
  adapter: string | undefined,
  threads: number | undefined,
  terminal: Terminal,
): Promise<readonly Answer[]> => {
  const given: Answer[] = [];
  const held = rows(join(asset("quickstart"), "validation.jsonl"));
  for await (const { row, prediction } of predict(model, held, { ...task, adapter, threads })) {
    const { text, label } = row;
    given.push({
      text: String(text),
      label: String(label),
      prediction: String(prediction),
      right: prediction === label,
    });
    terminal.status(`${counted(given.length, "row")} answered`);
  }
  terminal.status();
  return given;
};

const accuracyOf = (given: readonly Answer[]): number => given.filter(({ right }) => right).length / given.length;

/** Three rows that tell: what tuning put right comes first, of both labels if there are both. */
const telling = (before: readonly Answer[], after: readonly Answer[]) => {
  const pairs = before.flatMap((was, i) => {
    const is = after[i];
    return is === undefined ? [] : [{ was, is }];
  });
  const mended = pairs.filter(({ was, is }) => !was.right && is.right);
  const kept = pairs.filter(({ was, is }) => was.right && is.right);
  return [...mended.slice(0, 2), ...kept.slice(0, 1), ...mended.slice(2), ...kept.slice(1), ...pairs].slice(0, 3);
};

export const quickstart = defineCommand({
  name: "quickstart",
  summary: "Tune the small model that ships with Zeroth, in about half a minute.",
  flags: {
    seed: trainingFlags.seed,
    steps: { ...trainingFlags.steps, help: `default: ${STEPS}` },
    out: optional({ ...out, help: "default: zeroth-quickstart" }),
  },
  examples: [
    ["", "tunes, and shows what changed"],
    ["--seed 2 --steps 1000 --out again", "another start, more steps, another folder"],
  ],
  async run({ seed, steps = STEPS, out: folder = "zeroth-quickstart", threads }, { terminal, program }) {
    const { paint } = terminal;
    const began = Date.now();
    const stop = new AbortController();
    const model = await openModel(asset("seedling"), terminal);
    terminal.line(paint.bold("Zeroth quickstart: fine-tuning with forward passes only, no backpropagation"));
    terminal.line();
    terminal.line(`  model  seedling, a Llama of ${grouped(model.parameters)} parameters that ships with Zeroth`);
    terminal.line(
      `  task   how did the child feel? ${paint.dim(`"${task.prompt}" → ${task.options.split(",").join(" or")}`)}`,
    );
    terminal.line();

    const before = await answers(model, undefined, threads, terminal);
    const untuned = accuracyOf(before);
    if (terminal.json) terminal.record({ untuned });
    terminal.line(`Untuned: ${paint.bold(percent(untuned))} of ${grouped(before.length)} held-out rows right.`);

    const run = finetune(model, {
      data: asset("quickstart"),
      ...task,
      ...training,
      ...{ steps, seed, threads, out: folder },
      signal: stop.signal,
    });
    makeAnew(folder);
    const result = await drive(run, terminal, stop);
    if (result.outcome === "interrupted") {
      terminal.warn(`Stopped after ${counted(result.steps, "step")}. Start again with:\n  ${program} quickstart`);
      return 130;
    }

    const after = await answers(model, folder, threads, terminal);
    const tuned = accuracyOf(after);
    terminal.line(
      `Tuned:   ${paint.bold(paint.green(percent(tuned)))} of the same rows right, after ${counted(result.steps, "step")}.`,
    );
    terminal.line();
    for (const { was, is } of telling(before, after)) {
      const shown = ({ prediction, right }: Answer) =>
        right ? paint.green(`${prediction} ✓`) : paint.red(`${prediction} ✗`);
      terminal.line(`  ${is.text}`);
      terminal.line(`    before: ${shown(was)}   after: ${shown(is)}`);
    }
    const seconds = (Date.now() - began) / 1000;
    terminal.line();
    terminal.line(`  adapter     ${relative(".", join(folder, "adapter_model.safetensors"))}`);
    terminal.line(`  loss curve  ${relative(".", result.chart)}`);
    terminal.line(`  took        ${duration(seconds)}`);
    terminal.line();
    terminal.line("Now with a model and rows of your own:");
    terminal.line(`  ${commandLine(program, nextArgs)}`);
    if (terminal.json) {
      const { steps: taken, loss, secondsPerStep, peakRssBytes, out: made, chart } = result;
      terminal.record({
        untuned,
        tuned,
        total: after.length,
        steps: taken,
        loss,
        secondsPerStep,
        peakRssBytes,
        out: made,
        chart,
        seconds,
      });
    }
    return 0;
  },
});

const nextArgs = [
  ...["finetune", "--model", "HuggingFaceTB/SmolLM2-135M-Instruct", "--data", "reviews.jsonl"],
  ...["--prompt", "{review} It was", "--options", " bad, good", "--out", "tuned"],
];
