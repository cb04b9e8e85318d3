import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { openAdapted, openEngine } from "../../src/api/engines.js";
import { trainerOf } from "../../src/api/prepare.js";
import { resolveSettings } from "../../src/api/settings.js";
import { asking, writtenAfter } from "../../src/api/written.js";
import {
  evaluate,
  finetune,
  type GenerateOptions,
  generate,
  load,
  lora,
  type Model,
  mezo,
  predict,
} from "../../src/index.js";
import { tokenF1 } from "../../src/objective/written.js";
import { temporaryFolder } from "../model/tiny.js";

const seedling = fileURLToPath(new URL("../../assets/seedling", import.meta.url));
const asked = {
  title: "A story",
  context: "Once upon a time, there was a cat named Tom. Tom was happy.",
  question: "Who was happy?",
};

describe("answers that a model writes", { timeout: 240_000 }, () => {
  let model: Model;
  beforeAll(async () => {
    model = await load(seedling);
  });

  /** Rows of one question, whose right answer is what the model writes, that twice, or something else. */
  const folderOf = async (): Promise<{ folder: string; written: string }> => {
    const { title, context, question } = asked;
    const prompt = `Title: ${title}\nContext: ${context}\nQuestion: ${question}\nAnswer:`;
    const options: GenerateOptions = { prompt, maxTokens: 50, stop: ["\n"], threads: 1 };
    let written = "";
    for await (const event of generate(model, options)) if (event.type === "done") written = event.result.text.trim();
    expect(written).not.toBe("");
    const golds = [["nothing", `${written}!`], [`${written} ${written}`], ["nothing"]];
    const rows = golds.map((text) => JSON.stringify({ ...asked, answers: { text } }));
    const folder = await temporaryFolder();
    for (const name of ["train", "validation"]) writeFileSync(join(folder, `${name}.jsonl`), rows.join("\n"));
    return { folder, written };
  };

  it("are measured by F1 and exact matches, at perturbed weights too, and training goes by them", async () => {
    const { folder: data, written } = await folderOf();
    const result = await evaluate(model, { task: "squad", data, threads: 1 });
    // One is right to the word, one has half the words of its answer, one none.
    expect(result).toMatchObject({ task: "squad", metric: "f1", total: 3, correct: 1 });
    expect(result.value).toBeCloseTo((1 + 2 / 3 + 0) / 3, 10);

    for await (const { prediction } of predict(model, [asked], { task: "squad", threads: 1 }))
      expect(prediction).toBe(written);

    const out = join(await temporaryFolder(), "out");
    const run = finetune(model, {
      ...{ task: "squad", data, objective: "f1", method: lora({ rank: 2 }), out, threads: 1 },
      ...{ optimizer: mezo({ epsilon: 1e-3 }), steps: 1, batchSize: 2, devRows: 1, evalEvery: 1 },
    });
    const events = [];
    for await (const event of run) events.push(event);
    const step = events.find((event) => event.type === "step");
    expect(step?.loss).toBeLessThanOrEqual(0);
    expect(step?.loss).toBeGreaterThanOrEqual(-1);
    expect(events.find((event) => event.type === "evaluation")).toMatchObject({ metric: "f1", best: true });
  });

  it("are those of the weights at each point", async () => {
    const settings = resolveSettings({ task: "squad", method: "full", learningRate: 0 }, 1);
    const trainer = trainerOf(model, settings, 1);
    const engine = await openEngine(model, { method: trainer.method, training: trainer, threads: 1 });
    const plain = await openAdapted(model, { threads: 1 });
    try {
      const shared = model.files.tokenizer.encode("Once upon a time, there was a little girl named");
      const base = await writtenAfter(plain.engine, model, shared);
      const far = [{ key: { seed: 1n, stream: "noise", step: 0, query: 0 } as const, scale: 0.05 }];
      const moved = await writtenAfter(engine, model, shared, far);
      expect(moved).not.toBe(base);
      const tree = { shared, branches: [], label: 0, line: 1, truncated: 0, golds: [base] };
      const losses = await asking(model, "f1")(engine, [[], far, []], [tree]);
      expect(losses[0]).toBe(-1);
      expect(losses[1]).toBe(-tokenF1(moved, [base]));
    } finally {
      await engine.close();
      await plain.engine.close();
    }
  });

  it("are asked of no function", async () => {
    const data = await temporaryFolder();
    writeFileSync(join(data, "train.jsonl"), JSON.stringify({ ...asked, answers: { text: ["Tom"] } }));
    const run = finetune(model, { task: "squad", data, objective: () => 0, devRows: 0 });
    await expect(run[Symbol.asyncIterator]().next()).rejects.toThrow("in the model's own words");
  });
});
