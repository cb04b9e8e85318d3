import { join } from "node:path";
import { TextGenerationPipeline } from "@huggingface/transformers";
import { describe, expect, it, onTestFinished } from "vitest";
import {
  exportModel,
  finetune,
  type GenerateOptions,
  generate,
  load,
  lora,
  type Model,
  mezo,
  predict,
} from "../src/index.js";
import { logitsOf, logSum, type Written, writtenBy } from "../test/logits.js";
import { adapted, decoders, distance, fixture, type Reference, referenceOf } from "./reference.js";
import { missing, scratchFolder, shared, smollm2 } from "./shared.js";
import { shows } from "./support.js";
import { openTransformersJs, writtenByTransformersJs } from "./transformers-js.js";

/* What Zeroth writes for transformers.js and llama.cpp, opened by Zeroth itself, and in transformers.js. */

const exported = async (model: Model, adapter?: string, dtype?: "float16"): Promise<string> => {
  const out = join(await scratchFolder(onTestFinished), "exported");
  await exportModel(model, { format: "onnx", out, adapter, dtype });
  return out;
};

/** What a reference says of the places that a context has room for. */
const within = (reference: Reference, context: number): Reference => ({
  ...reference,
  logits: reference.logits.map((rows) => rows.filter((_, r) => r * reference.every < context)),
});

/** The largest difference of log-probabilities of the whole vocabulary, over all steps. */
const apart = (a: Written, b: Written | undefined): number => {
  expect(b?.logits).toHaveLength(a.logits.length);
  let worst = 0;
  for (const [i, row] of a.logits.entries()) {
    const other = b?.logits[i] ?? new Float32Array();
    expect(other).toHaveLength(row.length);
    const [sum, otherSum] = [logSum(row), logSum(other)];
    for (const [id, value] of row.entries())
      worst = Math.max(worst, Math.abs(value - sum - ((other[id] ?? Number.NaN) - otherSum)));
  }
  return worst;
};

type Base = keyof typeof decoders;

/** Fixtures and their bases: themselves, or what PEFT made an adapter for. */
const cases: readonly (readonly [name: string, base: Base])[] = [
  ...(Object.keys(decoders) as Base[]).map((base) => [base, base] as const),
  ...adapted.map((base) => [`${base}-lora`, base] as const),
];
const adapterOf = (name: string, base: Base): string | undefined => (name === base ? undefined : fixture(name));

describe.skipIf(missing)("what is exported to ONNX", () => {
  it.for(cases)("%s: Zeroth reads it, and computes the logits that PyTorch does", async ([name, base], { task }) => {
    shows(task, decoders[base], "ONNX");
    const model = await load(await exported(await load(fixture(base)), adapterOf(name, base)));
    expect(model.files.origin.kind).toBe("onnx");
    const reference = referenceOf(name);
    expect(distance(await logitsOf(model, reference.input_ids), reference)).toBeLessThan(1e-4);
  });

  it.for(cases)("%s: transformers.js goes on with prompts as Zeroth does", async ([name, base], { task }) => {
    shows(task, decoders[base], "ONNX out");
    const model = await load(fixture(base));
    const prompts = referenceOf(name).input_ids;
    const ours = await writtenBy(model, prompts, 12, adapterOf(name, base));
    const text = "Once upon a time, there was 1 little";
    for (const [dtype, bound] of [
      ["float32", 1e-4],
      ["float16", 5e-2],
    ] as const) {
      const folder = await exported(model, adapterOf(name, base), dtype === "float16" ? dtype : undefined);
      const theirs = await openTransformersJs(folder, dtype === "float16" ? "fp16" : "fp32", onTestFinished);
      const written = await writtenByTransformersJs(theirs.model, prompts, 12);
      const worst = Math.max(...ours.map((one, i) => apart(one, written[i])));
      console.log(`${name}, ${dtype}: log-probabilities within ${worst.toExponential(1)}`);
      expect(written.map(({ tokens }) => tokens)).toEqual(ours.map(({ tokens }) => tokens));
      expect(worst).toBeLessThan(bound);
      expect(theirs.tokenizer.encode(text, { add_special_tokens: false })).toEqual(model.files.tokenizer.encode(text));
    }
  });
});

describe.skipIf(missing)("what is exported to GGUF", () => {
  // llama.cpp has no OPT, and no scaling of rotary positions but Llama 3's own.
  const elsewhere = ["opt", "opt-post-norm", "llama-rope-scaled"];

  it.for(cases.filter(([, base]) => !elsewhere.includes(base)))(
    "%s: Zeroth reads it, and computes the logits that PyTorch does",
    async ([name, base], { task }) => {
      shows(task, decoders[base], "GGUF", "GGUF out");
      const out = join(await scratchFolder(onTestFinished), "exported.gguf");
      await exportModel(await load(fixture(base)), { format: "gguf", out, adapter: adapterOf(name, base) });
      const model = await load(out);
      // A window that llama.cpp does not know of is all that the file promises.
      const reference = within(referenceOf(name), model.family.contextLength);
      expect(distance(await logitsOf(model, reference.input_ids), reference)).toBeLessThan(1e-4);
    },
  );

  it.for(elsewhere)("%s is refused, in a sentence", async (name) => {
    const out = join(await scratchFolder(onTestFinished), "exported.gguf");
    const run = async () => {
      await exportModel(await load(fixture(name)), { format: "gguf", out });
      await load(out);
    };
    await expect(run()).rejects.toThrow(/not for opt|not Llama 3's: not supported/);
  });
});

describe.skipIf(missing)("SmolLM2-135M, tuned here and exported to ONNX", () => {
  /** An adapter after a few steps on SST-2. */
  const tuned = async (): Promise<string> => {
    const out = join(await scratchFolder(onTestFinished), "adapter");
    const run = finetune(await load(smollm2), {
      ...{ task: "sst2", data: join(shared, "data", "sst2"), out },
      ...{ method: lora({ rank: 8 }), optimizer: mezo({ learningRate: 3e-3, perturbation: "rademacher" }) },
      ...{ steps: 30, batchSize: 8, trainRows: 32, devRows: 0, evalEvery: 0, noiseCheck: false },
    });
    for await (const _ of run);
    return out;
  };
  const textOf = async (options: GenerateOptions): Promise<string> => {
    let text = "";
    for await (const event of generate(await load(smollm2), options)) if (event.type === "text") text += event.text;
    return text;
  };
  /** log p(great) − log p(terrible). */
  const oddsOf = async (sentence: string, adapter?: string): Promise<number> => {
    const odds: number[] = [];
    for await (const { scores } of predict(await load(smollm2), [{ sentence }], { task: "sst2", adapter }))
      odds.push(Math.log((scores[1] ?? Number.NaN) / (scores[0] ?? Number.NaN)));
    return odds[0] ?? Number.NaN;
  };

  it("answers a task's prompt and a question in transformers.js as it does in Zeroth", async () => {
    const adapter = await tuned();
    const theirs = await openTransformersJs(await exported(await load(smollm2), adapter), "fp32", onTestFinished);
    const { tokenizer } = theirs;

    const sentence = "it 's a charming and often affecting journey .";
    const prompt = `${sentence} It was`;
    const [written] = await writtenByTransformersJs(theirs.model, [tokenizer.encode(prompt)], 12);
    expect(tokenizer.decode([...(written?.tokens ?? [])])).toBe(await textOf({ prompt, adapter, maxTokens: 12 }));
    const [terrible, great] = [" terrible", " great"].map((option) => {
      const [id, ...more] = tokenizer.encode(option);
      expect(more).toEqual([]);
      return written?.logits[0]?.[id ?? -1] ?? Number.NaN;
    });
    const odds = await oddsOf(sentence, adapter);
    expect((great ?? Number.NaN) - (terrible ?? Number.NaN)).toBeCloseTo(odds, 3);
    // The tuning is in it.
    expect(Math.abs(odds - (await oddsOf(sentence)))).toBeGreaterThan(0.05);

    const question = { role: "user", content: "What is the capital of France? One word." };
    const content = await textOf({ messages: [question], adapter, maxTokens: 40 });
    expect(content).toContain("Paris");
    const generator = new TextGenerationPipeline({ task: "text-generation", ...theirs });
    const [answer] = await generator([question], { max_new_tokens: 40, do_sample: false });
    expect(answer?.generated_text.at(-1)).toEqual({ role: "assistant", content });
  });
});
