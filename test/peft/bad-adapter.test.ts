import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { messageOf, ZerothError } from "../../src/errors.js";
import type { OpenModel } from "../../src/model/open.js";
import { writeSafetensors } from "../../src/model/safetensors.js";
import { readTensorSync } from "../../src/model/weights.js";
import { readAdapter, readLora } from "../../src/peft/adapter.js";
import { loraNames } from "../../src/peft/lora.js";
import { damage, mutated, survives } from "../damage.js";
import { bindTiny } from "../model/families/tiny.js";
import { temporaryFolder, writeJson } from "../model/tiny.js";

/* Adapter folders that are damaged, or in a form that is not read. */

/** Nothing of its files is looked at. */
const base = { files: {} as OpenModel, family: bindTiny("llama") };
const module = "model.layers.0.self_attn.q_proj";
const config = {
  ...{ peft_type: "LORA", base_model_name_or_path: "some/base", r: 2, lora_alpha: 4, target_modules: ["q_proj"] },
  ...{ use_rslora: false, rank_pattern: { q_proj: 2 }, alpha_pattern: { k_proj: 8 }, bias: "none", use_dora: false },
  ...{ modules_to_save: null, fan_in_fan_out: false, layers_to_transform: null, inference_mode: true },
};
const writeAdapter = async (): Promise<string> => {
  const folder = await temporaryFolder();
  const { a, b } = loraNames(module);
  const tensor = (name: string, shape: readonly number[]) => ({
    ...{ name, shape, dtype: "F32" as const },
    bytes: () => new Uint8Array(new Float32Array(64).fill(0.5).buffer),
  });
  await writeSafetensors(join(folder, "adapter_model.safetensors"), [tensor(a, [2, 32]), tensor(b, [32, 2])]);
  await writeJson(join(folder, "adapter_config.json"), config);
  return folder;
};
const RUNS = Number(process.env.ZEROTH_FUZZ_RUNS ?? 200);

test("a configuration with a few fields changed gives finite scales and the file's ranks, or is refused", async () => {
  const folder = await writeAdapter();
  expect(readLora(folder, base).modules).toHaveLength(1);
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(mutated(config), async (changed) => {
      writeFileSync(join(folder, "adapter_config.json"), JSON.stringify(changed));
      let read = false;
      await survives(() => {
        for (const { scale, rank } of readLora(folder, base).modules)
          expect([Number.isFinite(scale), rank]).toEqual([true, 2]);
        read = true;
      });
      if (!read) refused++;
    }),
    { numRuns: RUNS },
  );
  expect(refused).toBeGreaterThan(RUNS / 10);
  expect(refused).toBeLessThan(RUNS);
});

test("weights that are damaged are refused, or read", async () => {
  const folder = await writeAdapter();
  const file = join(folder, "adapter_model.safetensors");
  const good = readFileSync(file);
  const before = process.memoryUsage().rss;
  await fc.assert(
    fc.asyncProperty(damage(good.length), (harm) => {
      writeFileSync(file, harm(good));
      return survives(() => {
        for (const source of readAdapter(folder, base).tensors.values()) readTensorSync(source);
      });
    }),
    { numRuns: RUNS },
  );
  expect(process.memoryUsage().rss - before).toBeLessThan(300 * 2 ** 20);
});

test("a pickle is not opened: the line that converts it is told", async () => {
  const folder = await writeAdapter();
  renameSync(join(folder, "adapter_model.safetensors"), join(folder, "adapter_model.bin"));
  try {
    readAdapter(folder, base);
    expect.fail("it was read");
  } catch (error) {
    expect(error).toBeInstanceOf(ZerothError);
    const [what, line, ...rest] = messageOf(error).split("\n");
    expect(what).toContain(`${folder} holds adapter_model.bin, a Python pickle`);
    // One line that a shell takes: no quotes of its kind inside.
    expect(line).toMatch(
      /^python -c "[^"]*torch\.load[^"]*save_file[^"]*|[^"]*save_file[^"]*torch\.load[^"]*" "[^"]+"$/,
    );
    expect(line).toContain("weights_only=True");
    expect(rest).toEqual([]);
  }
});
