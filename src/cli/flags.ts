import { z } from "zod";
import { choices, type DataChoice, methods } from "../index.js";
import { nearest, or } from "./words.js";

/** An option of a command: how it is written, what it does, and what its value must be. */
export interface Flag<S extends z.ZodType = z.ZodType> {
  /** As the argument parser wants it: `"--rank <r>"`, or `"[name]"` for a word of its own, `"[names...]"` for all that follow. */
  readonly usage: string;
  readonly help: string;
  /** Serves the command line (text) and the configuration file (text, numbers, lists). */
  readonly schema: S;
  readonly group: string;
}

const grouping =
  (group: string) =>
  <S extends z.ZodType>(usage: string, help: string, schema: S): Flag<S> => ({ usage, help, schema, group });

const scalar = z.union([z.string(), z.number(), z.boolean()]);

const text = z.union([z.string().min(1), z.number()], { error: "needs a value" }).transform(String);

/** Text with commas; a configuration file may give a list. */
const list = z
  .union([z.string(), z.array(scalar)], { error: "needs a list" })
  .transform((value) => (typeof value === "string" ? value : value.join(",")));

const choice = <T extends string>(names: readonly T[]) =>
  z.enum(names, {
    error({ input }) {
      const near = nearest(String(input), names);
      const hint = near === undefined ? "" : ` (did you mean ${near}?)`;
      return `must be ${or(names)}, not ${JSON.stringify(input)}${hint}`;
    },
  });

const number = (what: string, fits: (value: number) => boolean) =>
  z.union([z.number(), z.string()], { error: `must be ${what}` }).transform((value, context) => {
    const parsed = typeof value === "string" && value.trim() === "" ? Number.NaN : Number(value);
    if (Number.isFinite(parsed) && fits(parsed)) return parsed;
    context.addIssue({ code: "custom", message: `must be ${what}, not ${JSON.stringify(value)}` });
    return z.NEVER;
  });

const whole = (least: number) =>
  number(`a whole number of at least ${least}`, (value) => Number.isSafeInteger(value) && value >= least);
const atLeastZero = number("a number of at least 0", (value) => value >= 0);
const share = number("a number above 0 and at most 1", (value) => value > 0 && value <= 1);
const aboveZero = number("a number above 0", (value) => value > 0);

/** "a=1,b=2", words of them, or a mapping in a configuration file. */
const hyperparameters = z
  .union([z.record(z.string(), z.number()), list], { error: "must be like weightDecay=0.01,smoothing=1e-8" })
  .transform((value, context) => {
    if (typeof value !== "string") return value;
    const pairs = value.split(",").map((pair) => pair.split("=", 2).map((part) => part.trim()));
    const read = pairs.map(([name = "", number = ""]) => [name, number === "" ? Number.NaN : Number(number)] as const);
    if (read.every(([name, number]) => name !== "" && Number.isFinite(number))) return Object.fromEntries(read);
    context.addIssue({ code: "custom", message: `must be like weightDecay=0.01, not ${JSON.stringify(value)}` });
    return z.NEVER;
  });

/** Texts of their own, with \n for a line break. */
const texts = z
  .union([z.string(), z.array(z.string())], { error: "needs texts" })
  .transform((value) => [value].flat().map((one) => one.replaceAll("\\n", "\n")))
  .refine((all) => !all.includes(""), "needs texts of at least one character");

const toggle = z.boolean({ error: "must be true or false" });

const main = grouping("Model:");
const data = grouping("Data:");
const method = grouping("Method:");
const optimizing = grouping("Optimizer:");
const training = grouping("Training:");
const writing = grouping("Text:");
const output = grouping("Output:");
const machine = grouping("Machine:");

export const model = main(
  "--model <spec>",
  "Hugging Face folder, .gguf or .onnx file, or hub id (org/name, org/name@revision; org/name:FILE for a .gguf or .onnx file of it)",
  text,
);
export const adapter = main("--adapter <dir>", "PEFT adapter folder, or a model folder made with --method full", text);

/** How rows become examples. */
export const rowFlags = {
  task: data(
    "--task <name>",
    "sst2, rte, cb, boolq, copa, winogrande, wsc, wic, multirc, record, squad or drop; for masked models and classifiers also sst5, snli, mnli, trec, mr, cr, mpqa, subj, cola, qqp, qnli, mrpc",
    text.optional(),
  ),
  prompt: data(
    "--prompt <text>",
    'a task of your own: "{sentence} It was"; {mask} is where a masked model answers',
    text.optional(),
  ),
  options: data("--options <texts>", 'its answers, split at commas, spaces kept: " terrible, great"', list.optional()),
  labels: data(
    "--labels <labels>",
    "what the data calls them, in the same order (default: integers from 0)",
    list.optional(),
  ),
} as const;

export const dataFlags = {
  data: data("--data <path>", ".jsonl or .csv file, or a folder with train.jsonl and validation.jsonl", text),
  ...rowFlags,
  format: data(
    "--format <name>",
    "completion ({prompt, completion} rows) or chat ({messages} rows)",
    choice(["completion", "chat"]).optional(),
  ),
} as const;

const described = methods();
/** Every option of the methods, by its name. */
export const methodOptions = [...new Set(described.flatMap(({ options }) => options.map(({ name }) => name)))];

const takes = {
  whole: whole(1),
  positive: aboveZero,
  nothing: toggle,
  text: z.union([text, list], { error: "needs a value" }),
};

/** One flag for an option of one or more methods, each with what it does there. */
const methodFlag = (name: string): readonly [string, Flag] => {
  const all = described.flatMap((one) =>
    one.options.filter((option) => option.name === name).map((option) => ({ ...option, method: one.name })),
  );
  const texts = all.map(({ help, otherwise }) => (otherwise === "" ? help : `${help} (default: ${otherwise})`));
  const help = [...new Set(texts)].map((text) => {
    const of = all.filter((_, i) => texts[i] === text).map((option) => option.method);
    return `${of.length === described.length ? "" : `${of.join(", ")}: `}${text}`;
  });
  const [{ usage, takes: kind }] = all as [(typeof all)[number]];
  return [name, method(usage, help.join("; "), takes[kind].optional())];
};

export const methodFlags = {
  method: method(
    "--method <name>",
    `what is trained: ${described.map(({ name, summary }) => `${name}, ${summary}`).join("; ")} (default: ${choices.method[0]})`,
    choice(choices.method).optional(),
  ),
  ...Object.fromEntries(methodOptions.map(methodFlag)),
  prefixCache: method(
    "--prefix-cache <MiB>",
    "memory for hidden states where the first blocks are frozen (default: 256)",
    whole(0).optional(),
  ),
};

const optimizerFlags = {
  optimizer: optimizing(
    "--optimizer <name>",
    `${or(choices.optimizer)}; "zeroth optimizers" tells them apart (default: mezo)`,
    choice(choices.optimizer).optional(),
  ),
  learningRate: optimizing(
    "--learning-rate <x>",
    "default: the optimizer's own for the method; of a model's own weights, the more the fewer are trained",
    atLeastZero.optional(),
  ),
  epsilon: optimizing(
    "--epsilon <x>",
    "perturbation radius (default: the optimizer's own for the method)",
    aboveZero.optional(),
  ),
  queries: optimizing(
    "--queries <q>",
    "directions averaged a step (default: the optimizer's own, mostly 1)",
    whole(1).optional(),
  ),
  perturbation: optimizing(
    "--perturbation <name>",
    `noise: ${or(choices.perturbation)} (default: the optimizer's own, mostly gaussian)`,
    choice(choices.perturbation).optional(),
  ),
  momentum: optimizing(
    "--momentum <x>",
    "share of the last step's direction, below 1 (default: the optimizer's own, mostly 0)",
    atLeastZero.optional(),
  ),
  dampening: optimizing(
    "--dampening <x>",
    "gradients enter the momentum times 1 - x (default: the optimizer's own, mostly 0)",
    atLeastZero.optional(),
  ),
  weightDecay: optimizing(
    "--weight-decay <x>",
    "decoupled; biases and norms are left alone (default: 0)",
    atLeastZero.optional(),
  ),
  clip: optimizing(
    "--clip <x>",
    "holds projected gradients between -x and x; 0: not at all (default: 0)",
    atLeastZero.optional(),
  ),
  hyperparameters: optimizing(
    "--hyperparameters <list...>",
    "the optimizer's and the subspace's own, in words or split at commas: \"rank=4,refreshEvery=100\"",
    hyperparameters.optional(),
  ),
  estimator: optimizing(
    "--estimator <name>",
    `${or(choices.estimator)} (default: the optimizer's own, mostly two-sided)`,
    choice(choices.estimator).optional(),
  ),
  subspace: optimizing(
    "--subspace <name>",
    `where directions lie: ${or(choices.subspace)} (default: the optimizer's own, mostly dense)`,
    choice(choices.subspace).optional(),
  ),
  mask: optimizing(
    "--mask <file>",
    "for --subspace stored: safetensors file with the numbers of the elements that move",
    text.optional(),
  ),
  blocks: optimizing(
    "--blocks <level>",
    `estimates and updates block by block: ${or(choices.blocks)} (default: all weights at once)`,
    choice(choices.blocks).optional(),
  ),
  sweep: optimizing(
    "--sweep <name>",
    `${or(choices.sweep)}: a block is updated before the next one is looked at, or after the last (default: ${choices.sweep[0]})`,
    choice(choices.sweep).optional(),
  ),
  anchorRows: optimizing(
    "--anchor-rows <n>",
    "training rows that mezo-svrg's anchor looks at (default: 512)",
    whole(1).optional(),
  ),
} as const;

/** Which rows a few-shot run takes. */
export const perClass = training(
  "--per-class <k>",
  "few-shot: k rows of every class to train on, and k again to choose the best step on",
  whole(1).optional(),
);
export const dataSeed = training("--data-seed <s>", "of the choice of those rows (default: 0)", whole(0).optional());

export const trainingFlags = {
  ...optimizerFlags,
  objective: training(
    "--objective <name>",
    `what training improves: ${or(choices.objective)} (default: loss)`,
    choice(choices.objective).optional(),
  ),
  steps: training("--steps <n>", "default: 1000", whole(1).optional()),
  batchSize: training("--batch-size <n>", "rows a step (default: 16)", whole(1).optional()),
  runTokens: training(
    "--run-tokens <n>",
    "tokens of a run of several perturbed adapters side by side; 0: one after the other (default: 512)",
    whole(0).optional(),
  ),
  schedule: training(
    "--schedule <name>",
    `${or(choices.schedule)} (default: constant)`,
    choice(choices.schedule).optional(),
  ),
  warmup: training("--warmup <n>", "steps of linear warm-up (default: 0)", whole(0).optional()),
  seed: training("--seed <s>", "of noise, initialisation and data order (default: 0)", whole(0).optional()),
  trainRows: training("--train-rows <n>", "rows to train on (default: all that are not dev rows)", whole(1).optional()),
  devRows: training(
    "--dev-rows <n>",
    "rows to choose the best step on (default: a tenth, at most 500)",
    whole(0).optional(),
  ),
  perClass,
  dataSeed,
  evalEvery: training(
    "--eval-every <n>",
    "steps between evaluations on the dev rows; 0: never (default: 200)",
    whole(0).optional(),
  ),
  patience: training(
    "--patience <n>",
    "stop after this many evaluations without a better one (default: never)",
    whole(0).optional(),
  ),
} as const;

export const noiseCheck = training(
  "--no-noise-check",
  "do not measure the loss's rounding noise before the first step, which takes a few seconds",
  toggle.default(true),
);
export const probe = training(
  "--no-probe",
  "do not try learning rates, which takes up to a minute",
  toggle.default(true),
);

export const out = output("--out <dir>", "folder to write", text);
export const resume = output("--resume", "go on with the run in --out, bit for bit", toggle.default(false));

const threads = machine("--threads <n>", "default: the machine's cores", whole(1).optional());
/** 4 or 8. */
const blockBits = whole(4).transform((bits, context): 4 | 8 => {
  if (bits === 4 || bits === 8) return bits;
  context.addIssue({ code: "custom", message: `must be 4 or 8, not ${bits}` });
  return z.NEVER;
});
export const quantize = machine(
  "--quantize <bits>",
  "keep frozen matrices of a floating-point model in 4 or 8 bits (default: as the file has them)",
  blockBits.optional(),
);
export const device = machine("--device <name>", "cpu or webgpu (default: cpu)", choice(["cpu", "webgpu"]).optional());

/** What every command has. */
export const commonFlags = {
  threads,
  json: output("--json", "one JSON object a line; the last one is the result", toggle.default(false)),
} as const;

export const limit = data("--limit <n>", "at most this many rows, from the head of the file", whole(1).optional());
export const shots = data(
  "--shots <n>",
  "in-context demonstrations from the training file (default: 0)",
  whole(0).optional(),
);
export const atStep = main(
  "--step <n>",
  "rebuild the weights after this step (default: the step that the run kept)",
  whole(0).optional(),
);
/** What generated text goes on from, and how its tokens are drawn. */
export const generationFlags = {
  prompt: writing("--prompt <text>", "text to go on with", text),
  chat: writing("--chat", "the prompt is what a user says, by the model's chat template", toggle.default(false)),
  maxTokens: writing("--max-tokens <n>", "default: 256", whole(1).optional()),
  temperature: writing(
    "--temperature <t>",
    "draws tokens, with logits divided by this; 0: the likeliest (default: 0, or 1 with --top-p or --top-k)",
    atLeastZero.optional(),
  ),
  topP: writing(
    "--top-p <p>",
    "draws from the fewest tokens whose probabilities come to p (default: 1)",
    share.optional(),
  ),
  topK: writing("--top-k <k>", "draws from the k likeliest tokens (default: 0, all)", whole(0).optional()),
  seed: writing("--seed <s>", "of the draws (default: 0)", whole(0).optional()),
  stop: writing("--stop <texts...>", "ends at any of these texts; \\n is a line break", texts.optional()),
} as const;

/** The optimizer to tell all about. */
export const about = main(
  "[name]",
  "the optimizer to tell all about (default: a line about each)",
  choice(choices.optimizer).optional(),
);
/** What the lab is asked for. */
export const labFlags = {
  experiments: main("[experiments...]", "which of them (default: all)", list.optional()),
  optimizers: optimizing(
    "--optimizers <names>",
    "split at commas (default: as many as a picture has room for; epsilon and variance have their own)",
    list.optional(),
  ),
  steps: training(
    "--steps <n>",
    "of an optimizer with two evaluations in each (default: the experiment's own)",
    whole(1).optional(),
  ),
  seed: training("--seed <s>", "of noise and of the functions (default: 0)", whole(0).optional()),
  out: output("--out <dir>", "folder of the pictures (default: lab)", text.default("lab")),
  list: output("--list", "tell what experiments there are, and run none", toggle.default(false)),
} as const;
export const runFolder = main("--run <dir>", "the run's folder (--out of finetune)", text);
export const dtype = output(
  "--dtype <name>",
  "float32, float16 or bfloat16 (default: float32)",
  choice(["float32", "float16", "bfloat16"]).optional(),
);
/** What `export` is asked for. */
export const exportFlags = {
  format: output("--format <name>", or(choices.exportFormat), choice(choices.exportFormat)),
  out: output("--out <path>", "file to write for gguf, folder for the others", text),
  adapterOnly: output(
    "--adapter-only",
    "the adapter by itself, for a llama.cpp that has the model already",
    toggle.default(false),
  ),
} as const;
export const optional = <S extends z.ZodType>({ schema, ...flag }: Flag<S>): Flag<z.ZodOptional<S>> => ({
  ...flag,
  schema: schema.optional(),
});

/** The options of a command that say which data, as the public API takes them. */
export const dataChoice = (options: DataChoice): DataChoice => {
  const { data: path, task, prompt, options: answers, labels, format } = options;
  return { data: path, task, prompt, options: answers, labels, format };
};
