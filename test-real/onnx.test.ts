import { cpSync } from "node:fs";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { describe, expect, onTestFinished, test } from "vitest";
import { openAdapted, openEngine } from "../src/api/engines.js";
import { load, type Model } from "../src/api/load.js";
import { trainerOf } from "../src/api/prepare.js";
import { resolveSettings } from "../src/api/settings.js";
import { packs } from "../src/batch/pack.js";
import { runOf } from "../src/engine/feeds.js";
import { logitsOf } from "../test/logits.js";
import { missing, scratchFolder, shared } from "./shared.js";

/* Models in the layout of ONNX Runtime GenAI, against the runtime on their own graphs. */

const tiny = join(shared, "models", "genai-onnx-tiny");
const gpt2 = join(tiny, "tiny-random-gpt2-fp32");
const lfm2 = join(tiny, "tiny-random-lfm2-fp32");
const inputs = [[5, 9, 100, 7, 33], [40], [900, 3, 17]];

/** The graph as it is, one row at a time, with caches of nothing. */
const runtimeLogits = async (file: string, row: readonly number[]): Promise<Float32Array> => {
  const session = await InferenceSession.create(file);
  const feeds: Record<string, Tensor> = {};
  for (const input of session.inputMetadata) {
    if (!input.isTensor) continue;
    const shape = input.shape.map((dim) => (typeof dim === "number" ? dim : dim === "batch_size" ? 1 : 0));
    const whole = (values: readonly number[]) =>
      input.type === "int64"
        ? new Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length])
        : new Tensor("int32", Int32Array.from(values), [1, values.length]);
    const rows: Readonly<Record<string, readonly number[]>> = {
      input_ids: row,
      attention_mask: row.map(() => 1),
      position_ids: row.map((_, i) => i),
    };
    const values = rows[input.name];
    const zeros = new Float32Array(shape.reduce((a, b) => a * b, 1));
    feeds[input.name] = values === undefined ? new Tensor("float32", zeros, shape) : whole(values);
  }
  const { logits } = await session.run(feeds, ["logits"]);
  await session.release();
  return logits?.data as Float32Array;
};

const expectSame = async (model: Model, file: string): Promise<void> => {
  const found = await logitsOf(model, inputs);
  for (const [i, row] of inputs.entries()) {
    const expected = await runtimeLogits(file, row);
    expect(found[i]?.length).toBe(expected.length);
    expect(Math.max(...expected.map((value, j) => Math.abs(value - (found[i]?.[j] ?? Number.NaN))))).toBeLessThan(1e-4);
  }
};

describe.skipIf(missing)("ONNX Runtime GenAI's layout", () => {
  test("GPT-2 gives the runtime's own logits, and adapters move them", async () => {
    const model = await load(gpt2);
    await expectSame(model, join(gpt2, "past.onnx"));
    expect(model.family.contextLength).toBe(512);
    const settings = resolveSettings({ method: "lora", targets: "all-linear" }, 1);
    const trainer = trainerOf(model, settings, 8);
    const modules = new Set(trainer.method.tensors.map(({ name }) => name.replace(/.*h\.\d+\.(.*)\.lora.*/, "$1")));
    expect([...modules].sort()).toEqual(["attn.c_proj", "mlp.c_fc", "mlp.c_proj"]);
    const engine = await openEngine(model, { method: trainer.method, training: trainer, runTokens: 512 });
    onTestFinished(() => engine.close());
    const branch = { ids: [9], scored: [3] };
    const runs = packs([{ shared: [5, 9, 100], branches: [branch], label: 0, line: 1, truncated: 0 }]).map((pack) =>
      runOf(model.family, pack),
    );
    const moved = [{ key: { seed: 1n, stream: "noise", step: 0, query: 0 } as const, scale: 0.5 }];
    const [[before] = [], [after] = []] = await engine.evaluate({ points: [[], moved], runs });
    expect(Math.abs((after?.[0] ?? 0) - (before?.[0] ?? 0))).toBeGreaterThan(1e-3);
  });

  test("a model without its tokenizer says so, and with one it runs", async () => {
    await expect(load(lfm2)).rejects.toThrow(/tokenizer\.json/);
    const folder = await scratchFolder(onTestFinished);
    cpSync(lfm2, folder, { recursive: true });
    for (const name of ["tokenizer.json", "tokenizer_config.json"]) cpSync(join(gpt2, name), join(folder, name));
    const model = await load(folder);
    await expectSame(model, join(lfm2, "decoder.onnx"));
    const { engine } = await openAdapted(model, {});
    await engine.close();
  });
});
