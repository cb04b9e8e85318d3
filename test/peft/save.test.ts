import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { load, type Model } from "../../src/api/load.js";
import { merge } from "../../src/api/merge.js";
import { type WritableEncoding, writers } from "../../src/model/encodings.js";
import { writeSafetensors } from "../../src/model/safetensors.js";
import { readTensorSync } from "../../src/model/weights.js";
import { saveAdapter } from "../../src/peft/adapter.js";
import { lora } from "../../src/peft/lora.js";
import { saveModel } from "../../src/peft/save.js";
import { config, HIDDEN, shapes, temporaryFolder, tokenizer, valuesOf, writeJson } from "../model/tiny.js";

/* What is written: adapters, and base and adapter as one model folder. */

const seedling = fileURLToPath(new URL("../../assets/seedling", import.meta.url));
const q = "model.layers.0.self_attn.q_proj";

/** A model folder with these values, its tokenizer beside them; a base's dtype is in `torch_dtype`, as older files have it. */
const writeModel = async (values: (name: string) => Float32Array = valuesOf, dtype: WritableEncoding = "F32") => {
  const folder = await temporaryFolder();
  await writeJson(join(folder, "config.json"), { ...config, torch_dtype: "bfloat16" });
  await writeJson(join(folder, "tokenizer.json"), tokenizer);
  await writeJson(join(folder, "tokenizer_config.json"), { bos_token: "<s>", eos_token: { content: "</s>" } });
  writeFileSync(join(folder, "chat_template.jinja"), "{{ messages[0].content }}");
  const tensors = Object.entries(shapes).map(([name, shape]) => ({
    name,
    shape,
    dtype,
    bytes: () => writers[dtype](values(name)),
  }));
  await writeSafetensors(join(folder, "model.safetensors"), tensors);
  return folder;
};

/** An adapter of rank 1 and scale 1 on the queries: W + b·aᵀ. */
const writeAdapter = async (a: readonly number[], b: readonly number[]): Promise<string> => {
  const folder = await temporaryFolder();
  await writeJson(join(folder, "adapter_config.json"), { peft_type: "LORA", r: 1, lora_alpha: 1 });
  const tensor = (side: string, shape: readonly number[], values: readonly number[]) => ({
    name: `base_model.model.${q}.lora_${side}.weight`,
    shape,
    dtype: "F32" as const,
    bytes: () => writers.F32(Float32Array.from(values)),
  });
  await writeSafetensors(join(folder, "adapter_model.safetensors"), [
    tensor("A", [1, HIDDEN], a),
    tensor("B", [HIDDEN, 1], b),
  ]);
  return folder;
};

const valuesIn = (model: Model, name: string): Float32Array => readTensorSync(model.files.weights.get(name)!);
const hashes = (folder: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    readdirSync(folder)
      .sort()
      .map((name) => [
        name,
        createHash("sha256")
          .update(readFileSync(join(folder, name)))
          .digest("hex"),
      ]),
  );
const out = async (): Promise<string> => join(await temporaryFolder(), "merged");

/*
 * Queries of 1 everywhere, so that the spacing is known: above 1 it is 2⁻²³ in fp32, 2⁻¹⁰ in fp16, 2⁻⁷ in bf16; below, half.
 * A change of half a spacing rounds back to 1, which is even; anything more does not.
 */
const ones = (name: string): Float32Array => (name === `${q}.weight` ? valuesOf(name).fill(1) : valuesOf(name));
/** One change a column. The last is below fp32's own spacing, so it changes nothing. */
const columns = [2 ** -7, 2 ** -8, -(2 ** -8), -(2 ** -9), 2 ** -10, 2 ** -11, 1.5 * 2 ** -11, 2 ** -25];
const rows = [1, 0, 1, 0, 0, 1, 0, 0];
const shown = {
  float32: [true, true, true, true, true, true, true],
  float16: [true, true, true, true, true, false, true],
  bfloat16: [true, false, true, false, false, false, false],
} as const;

describe("merge", () => {
  test.each(["float32", "float16", "bfloat16"] as const)(
    "in %s gives the fraction of changes that survive, and those weights",
    async (dtype) => {
      const model = await load(await writeModel(ones));
      const folder = await out();
      const result = await merge(model, { adapter: await writeAdapter(columns, rows), out: folder, dtype });
      const survivors = shown[dtype].filter((survives) => survives).length;
      expect(result).toEqual({ out: folder, tensors: Object.keys(shapes).length, survivingChanges: survivors / 7 });

      const merged = valuesIn(await load(folder), `${q}.weight`);
      for (const [o, row] of rows.entries()) {
        for (const [i, change] of columns.entries()) {
          const place = `row ${o}, column ${i}`;
          if (row === 0 || shown[dtype][i] !== true) expect(merged[o * HIDDEN + i], place).toBe(1);
          // 1.5 half-spacings go to the nearer neighbour, a whole one.
          else if (dtype === "float16" && i === 6) expect(merged[o * HIDDEN + i], place).toBe(1 + 2 ** -10);
          else expect(merged[o * HIDDEN + i], place).toBe(1 + change);
        }
      }
    },
  );

  test("rounds ties to even: half a spacing is lost at an even weight and doubled at an odd one", async () => {
    const odd = (name: string) => (name === `${q}.weight` ? valuesOf(name).fill(1 + 2 ** -7) : valuesOf(name));
    const adapter = await writeAdapter(
      columns.map(() => 2 ** -8),
      rows,
    );
    for (const [values, survivingChanges] of [
      [ones, 0],
      [odd, 1],
    ] as const) {
      const model = await load(await writeModel(values));
      expect(await merge(model, { adapter, out: await out(), dtype: "bfloat16" })).toMatchObject({ survivingChanges });
    }
  });

  test("compares with the base as it is rounded: what only the base's own rounding moves is no change", async () => {
    const between = (name: string) => (name === `${q}.weight` ? valuesOf(name).fill(1 + 2 ** -12) : valuesOf(name));
    const model = await load(await writeModel(between));
    const adapter = await writeAdapter(
      columns.map(() => 2 ** -12),
      rows,
    );
    for (const [dtype, survivingChanges] of [
      ["bfloat16", 0],
      ["float16", 0],
      ["float32", 1],
    ] as const) {
      expect(await merge(model, { adapter, out: await out(), dtype })).toMatchObject({ survivingChanges });
    }
  });

  test("counts what changed in fp32 only: an adapter that changes nothing loses nothing", async () => {
    const model = await load(await writeModel(ones));
    const adapter = await writeAdapter(
      columns,
      rows.map(() => 0),
    );
    for (const dtype of ["float32", "bfloat16"] as const) {
      expect(await merge(model, { adapter, out: await out(), dtype })).toMatchObject({ survivingChanges: 1 });
    }
  });

  test("a tuned model folder is compared with its base weight by weight", async () => {
    const model = await load(await writeModel(ones));
    const tuned = await writeModel((name) => {
      const values = ones(name);
      if (name === `${q}.weight`) values.set([1 + 2 ** -7, 1 + 2 ** -7, 1 + 2 ** -7, 1 + 2 ** -12], 3);
      return values;
    });
    const folder = await out();
    const result = await merge(model, { adapter: tuned, out: folder, dtype: "bfloat16" });
    expect(result).toMatchObject({ survivingChanges: 3 / 4 });
    expect([...valuesIn(await load(folder), `${q}.weight`).subarray(2, 8)]).toEqual([
      1,
      1 + 2 ** -7,
      1 + 2 ** -7,
      1 + 2 ** -7,
      1,
      1,
    ]);
  });

  test("the folder opens again: weights in the type that the configuration names, tokenizer and template with them", async () => {
    const base = await writeModel();
    const model = await load(base);
    const adapter = await writeAdapter(columns, rows);
    for (const dtype of ["float32", "float16", "bfloat16"] as const) {
      const folder = await out();
      await merge(model, { adapter, out: folder, dtype });
      const { torch_dtype: _, ...rest } = JSON.parse(readFileSync(join(base, "config.json"), "utf8"));
      expect(JSON.parse(readFileSync(join(folder, "config.json"), "utf8"))).toEqual({ ...rest, dtype });
      for (const name of ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]) {
        expect(readFileSync(join(folder, name)).equals(readFileSync(join(base, name))), name).toBe(true);
      }
      const merged = await load(folder);
      expect(merged.parameters).toBe(model.parameters);
      expect(merged.files.tokenizer.encode("hello hell")).toEqual(model.files.tokenizer.encode("hello hell"));
      expect([...merged.files.weights.keys()].sort()).toEqual(Object.keys(shapes).sort());
      const encoding = { float32: "F32", float16: "F16", bfloat16: "BF16" }[dtype];
      for (const [name, source] of merged.files.weights) {
        expect([name, source.encoding, source.shape]).toEqual([name, encoding, shapes[name]]);
        // The tiny model's values need 4 bits before the point and 8 after it: fp16 holds those below 8.
        if (dtype === "float32" && name !== `${q}.weight`) expect(valuesIn(merged, name)).toEqual(valuesOf(name));
      }
    }
  });

  test("a base in bfloat16 is merged in fp32 whole: what no adapter touches keeps every bit", async () => {
    const model = await load(seedling);
    const adapter = await temporaryFolder();
    const options = { rank: 1, alpha: 1 };
    const method = lora.bind(model, options, 0n);
    await saveAdapter(adapter, model, lora, { method, options }, async (name) => {
      const { shape } = method.tensors.find((tensor) => tensor.name === name)!;
      // At most 2⁻¹⁸ a weight: far below bfloat16's spacing for most of them.
      return new Float32Array(shape[0]! * shape[1]!).fill(2 ** -9);
    });
    const whole = await out();
    expect(await merge(model, { adapter, out: whole })).toMatchObject({ survivingChanges: 1, tensors: 56 });
    const merged = await load(whole);
    for (const [name, source] of model.files.weights) {
      const before = readTensorSync(source);
      const expected = /[qv]_proj/.test(name) ? before.map((value) => value + 2 ** -18) : before;
      expect(Buffer.from(valuesIn(merged, name).buffer).equals(Buffer.from(expected.buffer)), name).toBe(true);
    }
    const { survivingChanges } = await merge(model, { adapter, out: await out(), dtype: "bfloat16" });
    expect(survivingChanges).toBeGreaterThan(0);
    expect(survivingChanges).toBeLessThan(0.1);
    expect(readdirSync(whole).sort()).toEqual(
      readdirSync(seedling)
        .filter((name) => name !== "README.md")
        .sort(),
    );
  });

  test("equal inputs give equal bytes", async () => {
    const model = await load(await writeModel());
    const adapter = await writeAdapter(columns, rows);
    const [first, second] = [await out(), await out()];
    for (const folder of [first, second]) await merge(model, { adapter, out: folder, dtype: "bfloat16" });
    expect(hashes(second)).toEqual(hashes(first));
    expect(Object.keys(hashes(first))).toHaveLength(5);
  });

  test("refuses a folder with files in it, what is no adapter, and one that does not fit, and writes nothing", async () => {
    const model = await load(await writeModel());
    const adapter = await writeAdapter(columns, rows);
    const full = await temporaryFolder();
    writeFileSync(join(full, "mine.txt"), "mine");
    await expect(merge(model, { adapter, out: full })).rejects.toMatchObject({ name: "ZerothError", kind: "usage" });
    expect(hashes(full)).toEqual({ "mine.txt": createHash("sha256").update("mine").digest("hex") });

    const folder = await out();
    const empty = await temporaryFolder();
    await expect(merge(model, { adapter: empty, out: folder })).rejects.toThrow("holds neither an adapter");
    await expect(merge(await load(seedling), { adapter, out: folder })).rejects.toThrow("another model");
    expect(existsSync(folder)).toBe(false);
  });

  test("what fails leaves nothing in the folder: a tuned model of other shapes, and weights that end too early", async () => {
    const model = await load(await writeModel());
    const folder = await out();
    await expect(merge(model, { adapter: seedling, out: folder })).rejects.toThrow("is not a tuned form of");
    expect(existsSync(folder)).toBe(false);

    const tuned = await writeModel();
    const narrow = await out();
    const weights = join(tuned, "model.safetensors");
    const read = merge(model, { adapter: tuned, out: narrow });
    // Cut while it is read: every name and shape was right when it was opened.
    truncateSync(weights, statSync(weights).size - 4);
    await expect(read).rejects.toThrow();
    expect(existsSync(narrow) ? readdirSync(narrow) : []).toEqual([]);
  });
});

describe("what fails to be written", () => {
  const parameters = Object.entries(shapes).map(([name, shape]) => ({ name, shape }));
  const fails = async (name: string) => {
    if (name === "model.norm.weight") throw new Error("the disk went away");
    return valuesOf(name);
  };

  test("a model whose last tensor cannot be read leaves no weights, whole or partial", async () => {
    const { files } = await load(await writeModel());
    const folder = await temporaryFolder();
    await expect(saveModel(folder, files, parameters, fails)).rejects.toThrow("the disk went away");
    expect(readdirSync(folder).filter((name) => name.includes("safetensors"))).toEqual([]);
  });

  test("weights that were there before stay as they were", async () => {
    const before = await writeModel();
    const { files } = await load(before);
    const folder = await temporaryFolder();
    cpSync(join(before, "model.safetensors"), join(folder, "model.safetensors"));
    const { "model.safetensors": weights } = hashes(folder);
    await expect(saveModel(folder, files, parameters, fails, "BF16")).rejects.toThrow("the disk went away");
    expect(hashes(folder)).toMatchObject({ "model.safetensors": weights });
    expect(readdirSync(folder).filter((name) => name.endsWith(".partial"))).toEqual([]);
  });

  test("an adapter that cannot take its name is told with its path, and its partial file removed", async () => {
    const model = await load(await writeModel());
    const folder = await temporaryFolder();
    const path = join(folder, "adapter_model.safetensors");
    mkdirSync(join(path, "in the way"), { recursive: true });
    const method = { ...lora.bind(model, {}, 0n), tensors: [] };
    const save = saveAdapter(folder, model, lora, { method, options: {} }, fails);
    await expect(save).rejects.toMatchObject({ name: "ZerothError", message: expect.stringContaining(path) });
    expect(readdirSync(folder)).toEqual(["adapter_model.safetensors"]);
  });

  test("a folder below a file is told with its path", async () => {
    const { files } = await load(await writeModel());
    const file = join(await temporaryFolder(), "file");
    writeFileSync(file, "");
    await expect(saveModel(join(file, "out"), files, parameters, fails)).rejects.toThrow(file);
  });
});

test("equal adapters give equal bytes, in whatever order their tensors come", async () => {
  const model = await load(await writeModel());
  const options = { rank: 2, alpha: 4, targets: "all-linear" };
  const method = lora.bind(model, options, 0n);
  const { tensors } = method;
  expect(tensors).toHaveLength(14);
  const [first, second] = [await temporaryFolder(), await temporaryFolder()];
  for (const [folder, order] of [
    [first, tensors],
    [second, tensors.toReversed()],
  ] as const) {
    await saveAdapter(folder, model, lora, { method: { ...method, tensors: order }, options }, async (name) => {
      const { shape } = tensors.find((tensor) => tensor.name === name)!;
      return new Float32Array(shape[0]! * shape[1]!).fill(name.length);
    });
  }
  expect(hashes(second)).toEqual(hashes(first));
});
