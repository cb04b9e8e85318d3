import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { openAdapted, openEngine } from "../../src/api/engines.js";
import { examplesOf } from "../../src/api/examples.js";
import { load, type Model } from "../../src/api/load.js";
import { merge } from "../../src/api/merge.js";
import { resolveSettings } from "../../src/api/settings.js";
import { trainingOf } from "../../src/api/training.js";
import { packs } from "../../src/batch/pack.js";
import { readRows } from "../../src/data/rows.js";
import { templateTask } from "../../src/data/template.js";
import type { TokenTree } from "../../src/data/tree.js";
import type { Engine } from "../../src/engine/engine.js";
import { runOf } from "../../src/engine/feeds.js";
import { ZerothError } from "../../src/errors.js";
import { type WritableEncoding, writers } from "../../src/model/encodings.js";
import { writeSafetensors } from "../../src/model/safetensors.js";
import { readTensorSync } from "../../src/model/weights.js";
import { readAdapter, saveAdapter } from "../../src/peft/adapter.js";
import { type LoraConfig, lora, loraConfig, loraMethod, loraModules, loraNames } from "../../src/peft/lora.js";
import { asset, question, scratch } from "../seedling.js";

/* LoRA adapters in PEFT's layout: what is written, what is computed with them, what is refused. */

const { fresh } = scratch("lora");

let model: Model;
let trees: readonly TokenTree[];
beforeAll(async () => {
  model = await load(asset("seedling"));
  const task = templateTask(question);
  trees = examplesOf(model, task, (await readRows(join(asset("quickstart"), "validation.jsonl"))).slice(0, 6)).trees;
});

/** Every logit where the rows' options are scored, by the engine's live weights; the engine is closed. */
const logitsOf = async (engine: Engine, family = model.family): Promise<Float32Array> => {
  const runs = packs(trees, { head: "columns" }).map((pack) => {
    const { columns: _, ...feeds } = runOf(family, pack).feeds;
    return { graph: "logits", feeds };
  });
  const [rows = []] = await engine.evaluate({ points: [[]], runs });
  await engine.close();
  expect(rows.reduce((sum, { length }) => sum + length, 0)).toBe(trees.length * 2048);
  return Float32Array.from(rows.flatMap((row) => [...row]));
};
const bits = (data: Float32Array) => new Int32Array(data.buffer, data.byteOffset, data.length);
const apart = (a: Float32Array, b: Float32Array): number => {
  expect(a.length).toBe(b.length);
  return a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i]!)), 0);
};
const base = async () => logitsOf((await openAdapted(model, { threads: 1 })).engine);
const adapted = async (adapter: string) => logitsOf((await openAdapted(model, { adapter, threads: 1 })).engine);

const elements = (shape: readonly number[]) => shape.reduce((size, dim) => size * dim, 1);
/** Values without a pattern, which bfloat16 holds exactly. */
const wave = (shape: readonly number[], scale: number, phase: number): Float32Array =>
  Float32Array.from({ length: elements(shape) }, (_, i) => scale * Math.round(127 * Math.sin(1.7 * i * i + phase)));

type Shapes = Readonly<Record<string, readonly number[]>>;
/** A folder as PEFT would write it; `config` as text is written as it is. */
const writeAdapter = async (config: object | string, shapes: Shapes, dtype: WritableEncoding = "F32") => {
  const folder = fresh();
  mkdirSync(folder);
  writeFileSync(join(folder, "adapter_config.json"), typeof config === "string" ? config : JSON.stringify(config));
  const tensors = Object.entries(shapes).map(([name, shape], i) => ({
    name,
    shape,
    dtype,
    bytes: () => writers[dtype](wave(shape, 2 ** -11, i)),
  }));
  await writeSafetensors(join(folder, "adapter_model.safetensors"), tensors);
  return folder;
};

/** The modules of an adapter folder that is read. */
const modulesIn = (folder: string) => {
  const { tensors } = readAdapter(folder, model);
  const config = loraConfig.parse(JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8")));
  const all = loraModules({ ...config, target_modules: "all-linear" }, model.family.parameters);
  return { tensors, modules: all.filter(({ module }) => tensors.has(loraNames(module).a)) };
};

const q = "model.layers.0.self_attn.q_proj";
const down = "model.layers.3.mlp.down_proj";
const pair = (module: string, rank: number, [outputs, inputs]: readonly [number, number]): Shapes => ({
  [`base_model.model.${module}.lora_A.weight`]: [rank, inputs],
  [`base_model.model.${module}.lora_B.weight`]: [outputs, rank],
});
const good = { peft_type: "LORA", r: 3, lora_alpha: 12, base_model_name_or_path: "some/base" };
const both = { ...pair(q, 3, [192, 192]), ...pair(down, 3, [192, 512]) };

describe("what is written", () => {
  const save = async (targets: readonly string[]) => {
    const folder = fresh();
    const options = { rank: 4, alpha: 6, targets };
    const method = lora.bind(model, options, 0n);
    const shapes = new Map(method.tensors.map(({ name, shape }) => [name, shape]));
    await saveAdapter(folder, model, lora, { method, options }, async (name) =>
      wave(shapes.get(name)!, 1, name.length),
    );
    return folder;
  };

  test("adapter_config.json holds PEFT's fields with their values", async () => {
    const config: unknown = JSON.parse(
      readFileSync(join(await save(["v_proj", "q_proj"]), "adapter_config.json"), "utf8"),
    );
    // LoraConfig of PEFT 0.7 to 0.18: a field that it does not know would make it refuse or warn.
    expect(config).toEqual({
      peft_type: "LORA",
      task_type: "CAUSAL_LM",
      base_model_name_or_path: model.files.origin.spec,
      r: 4,
      lora_alpha: 6,
      target_modules: ["q_proj", "v_proj"],
      use_rslora: false,
      use_dora: false,
      bias: "none",
      fan_in_fan_out: false,
      lora_dropout: 0,
      modules_to_save: null,
      layers_to_transform: null,
      layers_pattern: null,
      rank_pattern: {},
      alpha_pattern: {},
      init_lora_weights: true,
      inference_mode: true,
      revision: null,
    });
  });

  test("adapter_model.safetensors holds PEFT's keys: A is [r, inputs], B [outputs, r]", async () => {
    const bytes = readFileSync(join(await save(["v_proj", "down_proj"]), "adapter_model.safetensors"));
    const end = 8 + Number(bytes.readBigUInt64LE(0));
    const header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }> = JSON.parse(
      bytes.toString("utf8", 8, end),
    );
    const expected = Array.from({ length: 6 }, (_, i) => [
      [`base_model.model.model.layers.${i}.self_attn.v_proj.lora_A.weight`, "F32", [4, 192]],
      [`base_model.model.model.layers.${i}.self_attn.v_proj.lora_B.weight`, "F32", [64, 4]],
      [`base_model.model.model.layers.${i}.mlp.down_proj.lora_A.weight`, "F32", [4, 512]],
      [`base_model.model.model.layers.${i}.mlp.down_proj.lora_B.weight`, "F32", [192, 4]],
    ]).flat();
    const { __metadata__, ...tensors } = header;
    expect(__metadata__).toEqual({ format: "pt" });
    const found = Object.entries(tensors).map(([name, { dtype, shape }]) => [name, dtype, shape]);
    expect(found.sort()).toEqual(expected.sort());
    for (const [name, { shape, data_offsets }] of Object.entries(tensors)) {
      const data = bytes.subarray(end + data_offsets[0], end + data_offsets[1]);
      expect(data.equals(Buffer.from(wave(shape, 1, name.length).buffer)), name).toBe(true);
    }
  });

  test("targets are names, paths or all linear layers, and never the embedding or the head", () => {
    const modules = (target_modules: string[] | string) =>
      loraModules({ peft_type: "LORA", r: 1, lora_alpha: 1, target_modules }, model.family.parameters).map(
        ({ module }) => module,
      );
    expect(modules(["k_proj"])).toEqual(Array.from({ length: 6 }, (_, i) => `model.layers.${i}.self_attn.k_proj`));
    expect(modules([q])).toEqual([q]);
    expect(modules("all-linear")).toHaveLength(6 * 7);
    expect(modules("all-linear").filter((name) => /embed|head|norm/.test(name))).toEqual([]);
    expect(modules(String.raw`.*\.layers\.[01]\..*o_proj`)).toEqual([
      "model.layers.0.self_attn.o_proj",
      "model.layers.1.self_attn.o_proj",
    ]);
  });
});

describe("what it computes", () => {
  const settings = resolveSettings({}, 1);
  const train = (rank: number) => {
    const config = { peft_type: "LORA" as const, r: rank, lora_alpha: 16, target_modules: ["q_proj", "down_proj"] };
    const method = loraMethod(loraModules(config, model.family.parameters));
    const training = trainingOf(settings, method, model.family.layers, 1);
    return { method, open: () => openEngine(model, { method, training, threads: 1 }) };
  };

  test("an untrained adapter changes no logit: A starts Kaiming-uniform, B at zero", async () => {
    const { method, open } = train(4);
    const engine = await open();
    for (const { name, shape } of method.tensors) {
      const data = await engine.read({ name, start: 0, count: elements(shape) });
      const bound = name.endsWith("lora_B.weight") ? 0 : 1 / Math.sqrt(shape[1]!);
      const largest = data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      expect(largest).toBeLessThanOrEqual(bound);
      // Of 768 draws or more the largest is near the bound.
      expect(largest).toBeGreaterThanOrEqual(0.98 * bound);
    }
    expect(bits(await logitsOf(engine))).toEqual(bits(await base()));
  });

  test("saved and loaded, the logits are those of training bit for bit", async () => {
    const { method, open } = train(4);
    const engine = await open();
    for (const [i, { name, shape }] of method.tensors.entries()) {
      await engine.write({ name, start: 0, data: wave(shape, 2e-4, i) });
    }
    const folder = fresh();
    const options = { rank: 4, alpha: 16, targets: "all-linear" };
    await saveAdapter(folder, model, lora, { method, options }, (name) =>
      engine.read({ name, start: 0, count: 2 ** 30 }),
    );
    const live = await logitsOf(engine);
    expect(bits(await adapted(folder))).toEqual(bits(live));
    expect(apart(live, await base())).toBeGreaterThan(0.1);
  });

  const definitions: readonly (readonly [string, Partial<LoraConfig>, number, number])[] = [
    ["alpha / r", {}, 12 / 3, 12 / 3],
    ["alpha / √r under rslora", { use_rslora: true }, 12 / Math.sqrt(3), 12 / Math.sqrt(3)],
    [
      "a module's own rank and alpha",
      { r: 5, rank_pattern: { [q]: 3, "layers.3.mlp.down_proj": 3 }, alpha_pattern: { "mlp.*": 2 } },
      12 / 3,
      2 / 3,
    ],
  ];
  test.each(definitions)(
    "the side path is scaled by %s, and is the merged model's",
    async (_, config, first, second) => {
      const folder = await writeAdapter({ ...good, ...config }, both);
      const { modules, tensors } = modulesIn(folder);
      expect(modules.map(({ module }) => module)).toEqual([q, down]);
      const merged = fresh();
      await merge(model, { adapter: folder, out: merged });
      const whole = await load(merged);
      for (const [i, { module, scale, rank, inputs, outputs }] of modules.entries()) {
        expect(scale).toBeCloseTo([first, second][i]!, 12);
        const name = `${module}.weight`;
        const [before, after] = [model, whole].map(({ files }) => readTensorSync(files.weights.get(name)!));
        const { a, b } = loraNames(module);
        const [A, B] = [a, b].map((key) => readTensorSync(tensors.get(key)!));
        let worst = 0;
        for (let o = 0; o < outputs; o++) {
          for (let k = 0; k < inputs; k++) {
            let sum = 0;
            for (let r = 0; r < rank; r++) sum += B![o * rank + r]! * A![r * inputs + k]!;
            const exact = before![o * inputs + k]! + [first, second][i]! * sum;
            worst = Math.max(worst, Math.abs(after![o * inputs + k]! - exact) / Math.max(Math.abs(exact), 1e-3));
          }
        }
        // Half a unit in the last place, and what float64 rounds.
        expect(worst).toBeLessThan(2 ** -24 * 1.001);
      }
      const sidePath = await adapted(folder);
      const inWeights = await logitsOf((await openAdapted(whole, { threads: 1 })).engine, whole.family);
      expect(apart(sidePath, await base())).toBeGreaterThan(0.1);
      expect(apart(sidePath, inWeights)).toBeLessThan(1e-4);
    },
  );

  test("an adapter in bfloat16 is the same adapter widened", async () => {
    const [narrow, wide] = await Promise.all([writeAdapter(good, both, "BF16"), writeAdapter(good, both)]);
    expect(bits(await adapted(narrow))).toEqual(bits(await adapted(wide)));
  });
});

describe("refuses", () => {
  const refusal = async (config: object | string, shapes: Shapes = both): Promise<ZerothError> => {
    const folder = await writeAdapter(config, shapes);
    try {
      readAdapter(folder, model);
    } catch (error) {
      expect(error).toBeInstanceOf(ZerothError);
      const { message } = error as ZerothError;
      expect(message).toContain(folder);
      expect(message.split("\n").length).toBeLessThanOrEqual(4);
      return error as ZerothError;
    }
    return expect.fail("it was read");
  };
  const keyOf = (module: string, side: "A" | "B") => `base_model.model.${module}.lora_${side}.weight`;
  const { [keyOf(down, "B")]: _, ...halved } = both;

  const misfits: readonly (readonly [string, object, Shapes, readonly string[]])[] = [
    [
      "an adapter of a wider model, with both shapes",
      good,
      pair(q, 3, [256, 256]),
      ["another model (base: some/base)", `${keyOf(q, "A")} is [3,256], the model needs [3,192]`, "[256,3]"],
    ],
    [
      "an adapter of a deeper model, with the keys",
      good,
      { ...both, ...pair("model.layers.6.mlp.up_proj", 3, [512, 192]) },
      [
        "match nothing of the model",
        keyOf("model.layers.6.mlp.up_proj", "A"),
        keyOf("model.layers.6.mlp.up_proj", "B"),
      ],
    ],
    [
      "an adapter of another family",
      { ...good, base_model_name_or_path: null },
      pair("transformer.h.0.attn.c_attn", 3, [192, 576]),
      ["base: not said", keyOf("transformer.h.0.attn.c_attn", "A")],
    ],
    ["a key that is no LoRA key", good, { ...both, "base_model.model.lm_head.weight": [2048, 192] }, ["lm_head"]],
    ["a pair without its B", good, halved, ["missing", keyOf(down, "B")]],
    ["a pair without its A", good, { [keyOf(q, "B")]: [192, 3] }, ["match nothing of the model", keyOf(q, "B")]],
    ["another rank than the file's", { ...good, r: 8 }, both, [`${keyOf(q, "A")} is [3,192], the model needs [8,192]`]],
    ["a rank larger than memory", { ...good, r: 1e15 }, both, ["the model needs [1000000000000000,192]"]],
    ["a transposed A", good, { ...both, [keyOf(q, "A")]: [192, 3] }, ["is [192,3], the model needs [3,192]"]],
    ["a file without adapters", good, {}, ["another model"]],
  ];
  test.each(misfits)("%s", async (_, config, shapes, parts) => {
    const { message } = await refusal(config, shapes);
    for (const part of parts) expect(message).toContain(part);
  });

  const many = Object.assign({}, ...Array.from({ length: 9 }, (_, i) => pair(`blocks.${i}.q`, 3, [8, 8])));
  test("many keys in one line, most of them counted", async () => {
    expect((await refusal(good, many)).message).toContain("and 15 more");
  });

  const configs: readonly (readonly [string, object | string, string])[] = [
    ["what is not JSON", '{"peft_type": "LORA", ', "cannot be read as an adapter configuration"],
    ["an empty file", "", "cannot be read as an adapter configuration"],
    ["JSON that is no object", "[1]", "expected object"],
    ["another method of PEFT", { ...good, peft_type: "IA3" }, "peft_type IA3"],
    ["a configuration without r", { ...good, r: undefined }, "at r"],
    ["r = 0", { ...good, r: 0 }, "at r"],
    ["r < 0", { ...good, r: -8 }, "at r"],
    ["r that is no integer", { ...good, r: 2.5 }, "at r"],
    ["r past all integers", '{"peft_type":"LORA","r":1e300,"lora_alpha":1}', "at r"],
    ["an alpha that is not finite", '{"peft_type":"LORA","r":3,"lora_alpha":1e999}', "lora_alpha"],
    ["a configuration without alpha", { ...good, lora_alpha: undefined }, "lora_alpha"],
    ["a module's rank of 0", { ...good, rank_pattern: { q_proj: 0 } }, "rank_pattern"],
    ["DoRA", { ...good, use_dora: true }, "use_dora"],
    ["trained biases", { ...good, bias: "lora_only" }, "bias"],
    ["biases of B", { ...good, lora_bias: true }, "lora_bias"],
    ["whole modules saved beside", { ...good, modules_to_save: ["lm_head"] }, "modules_to_save"],
    ["layers used more than once", { ...good, layer_replication: [[0, 4]] }, "layer_replication"],
    ["an adapter that tokens switch on", { ...good, alora_invocation_tokens: [1] }, "alora_invocation_tokens"],
    ["a rank's pattern that is none", { ...good, rank_pattern: { "(": 4 } }, "rank_pattern"],
    ["an alpha's pattern that is none", { ...good, alpha_pattern: { "[": 4 } }, "alpha_pattern"],
    ["targets' pattern that is none", { ...good, target_modules: "(" }, "target_modules"],
  ];
  test.each(configs)("%s", async (_, config, part) => {
    const { message } = await refusal(config);
    expect(message).toContain("adapter_config.json");
    expect(message).toContain(part);
  });

  test("a folder without its weights, or with damaged ones", async () => {
    const folder = await writeAdapter(good, both);
    const weights = join(folder, "adapter_model.safetensors");
    const whole = readFileSync(weights);
    writeFileSync(weights, whole.subarray(0, whole.length - 1));
    expect(() => readAdapter(folder, model)).toThrow(/adapter_model\.safetensors is not a valid/);
    rmSync(weights);
    expect(() => readAdapter(folder, model)).toThrow(ZerothError);
  });

  test("targets that match nothing, and lists those there are", () => {
    const config: LoraConfig = { ...good, peft_type: "LORA", target_modules: ["q_proj", "c_attn", "proj"] };
    expect(() => loraModules(config, model.family.parameters)).toThrow(
      expect.objectContaining({
        name: "ZerothError",
        kind: "usage",
        message: expect.stringMatching(
          /matches: c_attn, proj\.\nIts linear layers: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj\.$/,
        ),
      }),
    );
  });

  test("any other value in a field, in words, or reads it", async () => {
    const folder = await writeAdapter(good, both);
    const fields = ["peft_type", "base_model_name_or_path", "r", "lora_alpha", "target_modules", "use_rslora", "bias"];
    const values = fc.oneof(fc.jsonValue(), fc.double(), fc.integer(), fc.constantFrom("LORA", "none", true, false));
    fc.assert(
      fc.property(fc.constantFrom(...fields), values, (field, value) => {
        writeFileSync(join(folder, "adapter_config.json"), JSON.stringify({ ...good, [field]: value }));
        try {
          const { modules } = modulesIn(folder);
          for (const { scale, rank } of modules) expect([Number.isFinite(scale), rank]).toEqual([true, 3]);
        } catch (error) {
          expect(error).toBeInstanceOf(ZerothError);
        }
      }),
    );
  });

  test("line breaks and escape codes of the file, which its message does not repeat", async () => {
    const { message } = await refusal(
      { ...good, base_model_name_or_path: "some\n\u001b[31mbase" },
      { ...both, "a\nb\n\u001b[2Jc.weight": [3] },
    );
    expect(message).toContain("base: some [31mbase");
    expect(message).toContain("a b [2Jc.weight");
    expect(message).not.toContain("\u001b");
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY])("%d among its weights, by the tensor's name", async (value) => {
    const folder = await writeAdapter(good, both);
    const file = join(folder, "adapter_model.safetensors");
    const bytes = readFileSync(file);
    bytes.writeFloatLE(value, bytes.length - 4);
    writeFileSync(file, bytes);
    const last = Object.keys(both).sort().at(-1)!;
    expect(() => readAdapter(folder, model)).toThrow(`${last} holds numbers that are not finite`);
  });
});
