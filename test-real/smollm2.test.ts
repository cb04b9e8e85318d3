import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { evaluate, finetune, full, load, lora, type Model, mezo, type StepEvent } from "../src/index.js";
import { logitsOf, nll } from "../test/logits.js";
import { missing, scratchFolder, shared, smollm2, smollm2Gguf, writeHubFolder } from "./shared.js";
import { shows } from "./support.js";

interface Prompt {
  readonly input_ids: readonly number[];
  readonly last_top5_ids: readonly number[];
  readonly last_top5_logits: readonly number[];
  readonly mean_token_nll: number;
}

const sst2 = join(shared, "data", "sst2");
const sst2Task = { task: "sst2", data: sst2 };

describe.skipIf(missing)("SmolLM2-135M", () => {
  const prompts: readonly Prompt[] = missing
    ? []
    : JSON.parse(readFileSync(join(smollm2, "reference.json"), "utf8")).prompts;
  let place = "";
  const cleaning: (() => Promise<void>)[] = [];
  beforeAll(async () => {
    place = await scratchFolder((clean) => cleaning.push(clean));
  });
  afterAll(async () => {
    for (const clean of cleaning) await clean();
  });
  const hub = async (dtype: "F32" | "BF16" | "F16"): Promise<Model> => {
    const folder = join(place, dtype);
    return load(existsSync(folder) ? folder : await writeHubFolder(folder, dtype));
  };

  /** Largest distance of the five largest logits of the last position, and of the mean token loss, over all prompts. */
  const compare = async (model: Model) => {
    expect(prompts).toHaveLength(6);
    const outputs = await logitsOf(
      model,
      prompts.map(({ input_ids }) => input_ids),
    );
    let logits = 0;
    let loss = 0;
    for (const [i, { input_ids, last_top5_ids, last_top5_logits, mean_token_nll }] of prompts.entries()) {
      const flat = outputs[i] ?? new Float32Array(0);
      const width = flat.length / input_ids.length;
      const row = (position: number) => flat.subarray(position * width, (position + 1) * width);
      const last = row(input_ids.length - 1);
      for (const [k, id] of last_top5_ids.entries()) {
        logits = Math.max(logits, Math.abs((last[id] ?? Number.NaN) - (last_top5_logits[k] ?? Number.NaN)));
      }
      const ranked = [...last.keys()].sort((a, b) => (last[b] ?? 0) - (last[a] ?? 0)).slice(0, 5);
      expect(new Set(ranked)).toEqual(new Set(last_top5_ids));
      const losses = input_ids.slice(1).map((id, position) => nll(row(position), id));
      loss = Math.max(loss, Math.abs(losses.reduce((a, b) => a + b, 0) / losses.length - mean_token_nll));
    }
    return { logits, loss };
  };

  it("GGUF: top-5 logits within 1e-2 of the reference, mean token loss within 1e-3", async ({ task }) => {
    shows(task, "Llama", "GGUF");
    const { logits, loss } = await compare(await load(smollm2Gguf));
    expect(logits).toBeLessThan(1e-2);
    expect(loss).toBeLessThan(1e-3);
  });

  // fp32 holds the GGUF's values; bf16 rounds weights to 8 bits and fp16 to 11, so logits move by as much in proportion.
  it.each([
    ["F32", 1e-2, 1e-3],
    ["F16", 3e-2, 3e-3],
    ["BF16", 0.25, 2e-2],
  ] as const)("hub folder in %s: logits within %f, loss within %f", async (dtype, logitBound, lossBound) => {
    const { logits, loss } = await compare(await hub(dtype));
    console.log(`${dtype}: logits ${logits.toExponential(1)}, loss ${loss.toExponential(1)}`);
    expect(logits).toBeLessThan(logitBound);
    expect(loss).toBeLessThan(lossBound);
  });

  it("SST-2 zero-shot: 450 of 872 right, ± 2", async () => {
    const { correct, total } = await evaluate(await load(smollm2Gguf), sst2Task);
    expect(total).toBe(872);
    expect(Math.abs((correct ?? 0) - 450)).toBeLessThanOrEqual(2);
  });

  /** Mean training loss of the first and the last `count` steps. */
  const trained = async (method: ReturnType<typeof lora> | ReturnType<typeof full>, learningRate: number) => {
    const out = join(await scratchFolder(onTestFinished), "out");
    const run = finetune(await hub("F32"), {
      ...sst2Task,
      ...{ method, optimizer: mezo({ learningRate, perturbation: "rademacher" }) },
      ...{ steps: 70, batchSize: 16, trainRows: 32, devRows: 0, evalEvery: 0, out },
    });
    const losses: number[] = [];
    for await (const event of run) if (event.type === "step") losses.push((event satisfies StepEvent).loss);
    const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
    return [mean(losses.slice(0, 10)), mean(losses.slice(-10))] as const;
  };

  // The side paths start at zero, so LoRA's first steps move little.
  it("a short LoRA run lowers the loss", async () => {
    const [before, after] = await trained(lora({ rank: 8 }), 3e-3);
    console.log(`LoRA: ${before.toFixed(3)} → ${after.toFixed(3)}`);
    expect(after).toBeLessThan(0.96 * before);
  });

  it("a short full-parameter run lowers the loss", async () => {
    const [before, after] = await trained(full(), 1e-5);
    console.log(`full: ${before.toFixed(3)} → ${after.toFixed(3)}`);
    expect(after).toBeLessThan(0.9 * before);
  });
});
