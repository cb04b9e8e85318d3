import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { openAdapted } from "../src/api/engines.js";
import { decode } from "../src/generate/decode.js";
import { greedy } from "../src/generate/sample.js";
import { generate, load } from "../src/index.js";
import { missing, scratchFolder, smollm2, writeHubFolder } from "./shared.js";

interface Prompt {
  readonly text: string;
  readonly input_ids: readonly number[];
  /** The twelve likeliest tokens, one after another, as transformers finds them. */
  readonly greedy: string;
}

describe.skipIf(missing)("SmolLM2-135M writes", () => {
  const prompts: readonly Prompt[] = missing
    ? []
    : JSON.parse(readFileSync(join(smollm2, "reference.json"), "utf8")).prompts;

  it.each(["the GGUF's blocks", "fp32"])("what transformers writes, from %s", async (weights) => {
    expect(prompts).toHaveLength(6);
    const isWide = weights === "fp32";
    const model = await load(isWide ? await writeHubFolder(await scratchFolder(onTestFinished), "F32") : smollm2);
    const { engine } = await openAdapted(model, {});
    try {
      for (const { text, greedy: expected, input_ids } of prompts) {
        expect(model.files.tokenizer.encode(text)).toEqual(input_ids);
        const ids: number[] = [];
        const options = { choose: greedy, ends: new Set<number>(), most: 12 };
        if ("imported" in model.family) throw new Error("an ONNX model");
        for await (const id of decode(engine, model.family, input_ids, options)) ids.push(id);
        expect(model.files.tokenizer.decode(ids, { skipSpecial: true })).toBe(expected);
      }
    } finally {
      await engine.close();
    }
  });

  it("an answer by its chat template, up to its end token", async () => {
    const messages = [{ role: "user", content: "What is the capital of France? One word." }];
    const events = [];
    for await (const event of generate(await load(smollm2), { messages, maxTokens: 40 })) events.push(event);
    expect(events.at(-1)).toMatchObject({ result: { reason: "end", text: expect.stringContaining("Paris") } });
  });
});
