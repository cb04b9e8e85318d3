import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { type GenerateOptions, generate, load, type Model } from "../src/index.js";
import { missing, scratchFolder, smollm2, smollm2Gguf, writeHubFolder } from "./shared.js";

interface Prompt {
  readonly text: string;
  readonly input_ids: readonly number[];
  /** The twelve likeliest tokens, one after another, as transformers finds them. */
  readonly greedy: string;
}

const written = async (model: Model, options: GenerateOptions): Promise<string> => {
  for await (const event of generate(model, options)) if (event.type === "done") return event.result.text;
  throw new Error("no end");
};

describe.skipIf(missing)("SmolLM2-135M writes", () => {
  const prompts: readonly Prompt[] = missing
    ? []
    : JSON.parse(readFileSync(join(smollm2, "reference.json"), "utf8")).prompts;

  it("what transformers writes, from the GGUF's blocks and from fp32", async () => {
    expect(prompts).toHaveLength(6);
    const folder = await writeHubFolder(await scratchFolder(onTestFinished), "F32");
    for (const spec of [smollm2, smollm2Gguf, folder]) {
      const model = await load(spec);
      for (const { text, greedy, input_ids } of prompts) {
        expect(model.files.tokenizer.encode(text)).toEqual(input_ids);
        expect(await written(model, { prompt: text, maxTokens: 12 })).toBe(greedy);
      }
    }
  });

  it("an answer by its chat template, up to its end token", async () => {
    const model = await load(smollm2);
    const messages = [{ role: "user", content: "What is the capital of France? One word." }];
    const events = [];
    for await (const event of generate(model, { messages, maxTokens: 60 })) events.push(event);
    expect(events.at(-1)).toMatchObject({ result: { reason: "end", text: expect.stringContaining("Paris") } });
  });
});
