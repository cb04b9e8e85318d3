import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { openAdapted } from "../../src/api/engines.js";
import { packs } from "../../src/batch/pack.js";
import { runOf } from "../../src/engine/feeds.js";
import { greedy } from "../../src/generate/sample.js";
import { type GenerateEvent, type GenerateOptions, generate, load, type Model } from "../../src/index.js";
import { temporaryFolder } from "../model/tiny.js";

const seedling = fileURLToPath(new URL("../../assets/seedling", import.meta.url));
const prompt = "Once upon a time, there was a little";

const collected = async (model: Model, options: GenerateOptions) => {
  const events: GenerateEvent[] = [];
  for await (const event of generate(model, { threads: 1, ...options })) events.push(event);
  const last = events.at(-1);
  if (last?.type !== "done") throw new Error("no end");
  const pieces = events.flatMap((event) => (event.type === "text" ? [event.text] : []));
  expect(pieces.join("")).toBe(last.result.text);
  return { pieces, ...last.result };
};

describe("generating text", { timeout: 240_000 }, () => {
  let model: Model;
  beforeAll(async () => {
    model = await load(seedling);
  });

  it("greedy: token by token the likeliest of the logits of the whole row, computed anew", async () => {
    const { text, tokens, promptTokens } = await collected(model, { prompt, maxTokens: 24 });
    const { engine } = await openAdapted(model, { threads: 1 });
    try {
      const row = model.files.tokenizer.encode(prompt);
      expect(promptTokens).toBe(row.length);
      const fresh: number[] = [];
      for (let i = 0; i < 24; i++) {
        const branch = { ids: [0], scored: [row.length] };
        const [pack] = packs([{ shared: row, branches: [branch], label: 0, line: 1, truncated: 0 }], {
          head: "tokens",
        });
        const { targets: _, ...feeds } = runOf(model.family, pack!).feeds;
        const [[logits] = []] = await engine.evaluate({ points: [[]], runs: [{ graph: "logits", feeds }] });
        const id = greedy(logits!, i);
        row.push(id);
        fresh.push(id);
      }
      expect(text).toBe(model.files.tokenizer.decode(fresh));
      expect(tokens).toBe(24);
    } finally {
      await engine.close();
    }
  });

  it("drawn: the same for a seed, another for another; greedy of one token", async () => {
    const of = async (options: GenerateOptions) => (await collected(model, { prompt, maxTokens: 8, ...options })).text;
    const likeliest = await of({});
    const one = await of({ temperature: 1, seed: 5 });
    expect(await of({ temperature: 1, seed: 5 })).toBe(one);
    expect(await of({ temperature: 1, seed: 6 })).not.toBe(one);
    expect(one).not.toBe(likeliest);
    expect(await of({ topK: 1, seed: 5 })).toBe(likeliest);
  });

  it("ends before a stop sequence, wherever tokens begin and end", async () => {
    const whole = await collected(model, { prompt, maxTokens: 24 });
    // From within one word to within another.
    const stop = whole.text.slice(7, 17);
    const stopped = await collected(model, { prompt, maxTokens: 24, stop: ["never said", stop] });
    expect(stopped).toMatchObject({ text: whole.text.slice(0, whole.text.indexOf(stop)), reason: "stop" });
    expect(stopped.tokens).toBeLessThan(24);
    expect(whole.reason).toBe("length");
  });

  it("ends at the end tokens of generation_config.json, before those of config.json", async () => {
    const { tokens, text } = await collected(model, { prompt, maxTokens: 24 });
    const ids = model.files.tokenizer.encode(prompt + text).slice(-tokens);
    const folder = join(await temporaryFolder(), "model");
    mkdirSync(folder);
    cpSync(seedling, folder, { recursive: true });
    const fifth = ids[4]!;
    writeFileSync(join(folder, "generation_config.json"), JSON.stringify({ eos_token_id: [1, fifth] }));
    const ended = await collected(await load(folder), { prompt, maxTokens: 24 });
    expect(ended).toMatchObject({ reason: "end", tokens: ids.indexOf(fifth) });
  });

  it("ends with the model's context, the last token's successor included", async () => {
    const long = "Once upon a time. ".repeat(60);
    const ids = model.files.tokenizer.encode(long);
    const most = model.family.contextLength;
    const cut = model.files.tokenizer.decode(ids.slice(0, most - 3));
    const { tokens, promptTokens, reason } = await collected(model, { prompt: cut });
    expect({ all: tokens + promptTokens, reason }).toEqual({ all: most + 1, reason: "length" });
    await expect(collected(model, { prompt: long })).rejects.toThrow(`and the model's context ${most}. Shorten it.`);
  });

  it("stops at a signal", async () => {
    const abort = new AbortController();
    const events: GenerateEvent[] = [];
    for await (const event of generate(model, { prompt, threads: 1, signal: abort.signal })) {
      events.push(event);
      abort.abort();
    }
    expect(events).toHaveLength(2);
    expect(events.at(-1)).toMatchObject({ result: { reason: "interrupted", tokens: 1 } });
  });

  it.each([
    [{}, "Give a prompt, or messages"],
    [{ prompt: "a", messages: [] }, "Give a prompt, or messages"],
    [{ prompt: "" }, "The prompt is empty"],
    [{ messages: [{ role: "user", content: "Hi" }] }, "no chat template"],
    [{ prompt: "a", topP: 0 }, "topP is above 0"],
    [{ prompt: "a", temperature: -1 }, "temperature is at least 0"],
    [{ prompt: "a", maxTokens: 0.5 }, "maxTokens is a whole number"],
    [{ prompt: "a", stop: [""] }, "at least one character"],
  ] satisfies [GenerateOptions, string][])("refuses %j", async (options, message) => {
    await expect(collected(model, options)).rejects.toThrow(message);
  });
});
