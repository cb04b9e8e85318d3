import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { method as choose, full, lora, optimizer } from "../../src/api/choices.js";
import { doctor } from "../../src/api/doctor.js";
import { evaluate } from "../../src/api/evaluate.js";
import { finetune } from "../../src/api/finetune.js";
import { load, type Model } from "../../src/api/load.js";
import { predict } from "../../src/api/predict.js";
import { preview } from "../../src/api/preview.js";
import { replay } from "../../src/api/replay.js";
import type { FinetuneOptions, Prediction } from "../../src/api/types.js";
import { ZerothError } from "../../src/errors.js";
import { type EncoderKind, writeEncoder } from "../model/families/encoders.js";

/* Models that fill masks and classifiers, from rows to predictions: tiny random ones, with tokenizers of their own kind. */

const place = mkdtempSync(join(tmpdir(), "zeroth-encoders-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));
let folders = 0;
const fresh = (): string => join(place, String(folders++));

const things = ["film", "play", "song", "book"];
const feelings = { bad: 0, dull: 0, poor: 0, good: 1, fine: 1, moving: 1 };
const words = ["the", "was", ...things, ...Object.keys(feelings), "It", "great", "terrible", "is", "it", ".", ",", "?"];

/** Rows whose label hangs on one word: sentences, and pairs whose second says it. */
const rows = things.flatMap((thing) =>
  Object.entries(feelings).map(([feeling, label]) => ({
    ...{ sentence: ` the ${thing} was ${feeling}`, label },
    ...{ question: ` was the ${thing} good?`, text: ` it was ${feeling}` },
  })),
);
const data = (name: string, list: readonly object[]): string => {
  const file = join(place, `${name}.jsonl`);
  writeFileSync(file, list.map((row) => JSON.stringify(row)).join("\n"));
  return file;
};
const sentences = data("sentences", rows);
const pairs = data(
  "pairs",
  rows.map(({ question, text, label }) => ({ question, sentence: text, label })),
);

const open = async (kind: EncoderKind, classes?: number): Promise<Model> => {
  const folder = fresh();
  await writeEncoder(folder, kind, { words, ...(classes === undefined ? {} : { classes }) });
  return load(folder);
};

const adam = (learningRate: number) => optimizer("zo-adam", { learningRate, epsilon: 1e-3, queries: 4 });
const common = {
  ...{ threads: 1, batchSize: 24, devRows: 0, noiseCheck: false },
  optimizer: adam(0.02),
} satisfies Partial<FinetuneOptions>;

const cases: readonly [string, EncoderKind, number | undefined, FinetuneOptions][] = [
  ["BERT's masks, LoRA", "bert", undefined, { data: sentences, task: "sst2", method: lora({ rank: 4 }) }],
  ["RoBERTa's masks, every parameter", "roberta", undefined, { data: sentences, task: "sst2", method: full() }],
  ["BERT's classes of pairs, every parameter", "bert", 2, { data: pairs, task: "qnli", method: full() }],
  [
    "BERT's classes of pairs, LoRA",
    "bert",
    2,
    { data: pairs, task: "qnli", method: lora({ rank: 4 }), optimizer: adam(0.01) },
  ],
  [
    "RoBERTa's classes, LoRA",
    "roberta",
    2,
    { data: sentences, task: "sst2", method: lora({ rank: 4 }), optimizer: adam(0.01) },
  ],
];
const weights = { lora: "adapter_model.safetensors", full: "model.safetensors" } as const;

describe.each(cases)("%s", (_, kind, classes, asked) => {
  let model: Model;
  beforeAll(async () => {
    model = await open(kind, classes);
  });

  test("learns, is measured, answers, and replays bit for bit", async () => {
    const { data: file, task, method } = asked;
    const out = fresh();
    const losses: number[] = [];
    for await (const event of finetune(model, { ...common, ...asked, steps: method?.kind === "full" ? 80 : 100, out }))
      if (event.type === "step") losses.push(event.loss);
    const mean = (list: readonly number[]) => list.reduce((sum, loss) => sum + loss, 0) / list.length;
    expect(mean(losses.slice(-10))).toBeLessThan(0.85 * mean(losses.slice(0, 10)));

    const tuned = { task, adapter: out, threads: 1 };
    const measured = await evaluate(model, { data: file, ...tuned });
    expect(measured).toMatchObject({ task, metric: "accuracy", total: rows.length });
    expect(measured.value).toBeGreaterThan((await evaluate(model, { data: file, task, threads: 1 })).value);

    const answers: Prediction[] = [];
    // As the task spells labels where a row has none.
    const spelled = (label?: number) => (task === "qnli" ? ["entailment", "not_entailment"][label ?? 2] : label);
    const unlabelled = readFileSync(file, "utf8")
      .split("\n")
      .map((line) => JSON.parse(line.replace(/,"label":\d/, "")));
    for await (const answer of predict(model, unlabelled, tuned)) answers.push(answer);
    expect(answers.filter(({ prediction }, i) => prediction === spelled(rows[i]?.label))).toHaveLength(
      measured.correct ?? -1,
    );
    for (const { scores } of answers) expect(Object.values(scores).reduce((a, b) => a + b, 0)).toBeCloseTo(1, 6);

    const again = fresh();
    await replay(model, { run: out, out: again, threads: 1 });
    const name = weights[method?.kind === "full" ? "full" : "lora"];
    expect(readFileSync(join(again, name)).equals(readFileSync(join(out, name)))).toBe(true);
  });

  test("is shown and looked over before a run", async () => {
    const { data: file, task } = asked;
    const shown = await preview(model, { data: file, task });
    expect(shown).toMatch(classes === undefined ? /\[(\[MASK\]|<mask>)\]/ : /\[(\[CLS\]|<s>)\]/);
    // qnli's first option is entailment, "Yes".
    expect(shown).toContain(task === "qnli" ? "0 ✓ [Yes]" : "0 ✓ [");
    const report = await doctor(model, { ...common, ...asked, steps: 10, probe: false });
    expect(report.noise.roundingNoise).toBeLessThan(1e-4);
    expect(report.cost.secondsPerStep).toBeGreaterThan(0);
    // A padded batch has one sequence a row here, options or not; rows are of equal length, or nearly.
    expect(report.packing.saved).toBeGreaterThanOrEqual(0);
    expect(report.packing.saved).toBeLessThan(0.3);
  });
});

describe("what makes no run is refused before there is one", () => {
  const refusal = async (model: Model, options: FinetuneOptions): Promise<string> => {
    const out = fresh();
    const run = async () => {
      for await (const event of finetune(model, { ...common, ...options, out }))
        expect(event.type, "nothing starts").toBe("note");
    };
    const error: unknown = await run().catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(ZerothError);
    return (error as ZerothError).message;
  };

  test("a classifier of another number of classes than the task has options", async () => {
    const message = await refusal(await open("bert", 3), { data: sentences, task: "sst2" });
    expect(message).toMatch(
      /^\S+sentences\.jsonl:\d+: the task has 2 options \(0, 1\), and the model sorts texts into 3/,
    );
    expect(message).not.toContain("\n");
  });

  test("words that a mask cannot hide, tasks of other models, and demonstrations", async () => {
    const model = await open("bert");
    const own = { data: sentences, prompt: "{sentence} It was {mask}." };
    expect(await refusal(model, { ...own, options: "good,superb" })).toMatch(/"superb" is not in this model's voc/);
    expect(await refusal(model, { ...own, options: "good,goods" })).toMatch(/"goods" is 2 in this model's vocabulary/);
    expect(await refusal(model, { ...own, options: "good,Good" })).toMatch(/"good" and "Good" are the same token/);
    expect(await refusal(model, { ...own, prompt: "{sentence}", options: "good,bad" })).toMatch(/has 0 masks/);
    expect(await refusal(model, { data: sentences, task: "copa" })).toMatch(/copa has no prompt for a masked language/);
    expect(await refusal(model, { data: sentences, format: "completion" })).toMatch(/lacks the field "prompt"/);
    await expect(evaluate(model, { data: sentences, task: "sst2", shots: 2 })).rejects.toThrow(
      /^--shots: demonstrations are for models that continue text/,
    );
  });

  test("texts of another vocabulary", async () => {
    const folder = fresh();
    await writeEncoder(folder, "bert", { words: words.slice(0, 9) });
    const other = fresh();
    await writeEncoder(other, "bert", { words });
    copyFileSync(join(other, "tokenizer.json"), join(folder, "tokenizer.json"));
    const message = await refusal(await load(folder), { data: sentences, task: "sst2" });
    expect(message).toMatch(/the tokenizer gives token \d+, and the model knows 15/);
  });
});

test.each(["bert", "roberta"] as const)(
  "biases of %s's masks, its head's too: sides at once are sides in turn",
  async (kind) => {
    const model = await open(kind);
    const losses = async (runTokens: number): Promise<number[]> => {
      const steps: number[] = [];
      const run = {
        ...common,
        data: sentences,
        task: "sst2",
        steps: 4,
        method: choose("bias"),
        out: fresh(),
        runTokens,
      };
      for await (const event of finetune(model, run)) if (event.type === "step") steps.push(event.loss);
      return steps;
    };
    const [together, apart] = [await losses(4096), await losses(0)];
    expect(together).toHaveLength(4);
    for (const [i, loss] of together.entries()) expect(Math.abs(loss - apart[i]!)).toBeLessThan(1e-4);
    expect(new Set(together.map((loss) => loss.toFixed(3))).size).toBeGreaterThan(1);
  },
);

test("the last block alone of a masked model: as with all blocks computed each time", async () => {
  const model = await open("bert");
  const last = { ...common, data: sentences, task: "sst2", steps: 6, method: lora({ rank: 2, layers: [1, 1] }) };
  const out = fresh();
  const losses: number[] = [];
  for await (const event of finetune(model, { ...last, out })) if (event.type === "step") losses.push(event.loss);
  // At the base's weights, before LoRA's B moves, both are the model's own loss.
  const whole: number[] = [];
  for await (const event of finetune(model, { ...last, steps: 1, method: lora({ rank: 2 }), out: fresh() }))
    if (event.type === "step") whole.push(event.loss);
  expect(losses).toHaveLength(6);
  expect(Math.abs(losses[0]! - whole[0]!)).toBeLessThan(0.01);
  expect(JSON.parse(readFileSync(join(out, "adapter_config.json"), "utf8"))).toMatchObject({
    layers_to_transform: [1],
    target_modules: ["query", "value"],
  });
});
