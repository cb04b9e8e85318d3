import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { describe, expect, it, onTestFinished } from "vitest";
import { exportModel } from "../../src/api/export.js";
import { load, type Model } from "../../src/api/load.js";
import { merge } from "../../src/api/merge.js";
import { packs } from "../../src/batch/pack.js";
import { runOf } from "../../src/engine/feeds.js";
import { openHost } from "../../src/engine/host.js";
import { buildForward } from "../../src/engine/plan.js";
import { onnxFormat } from "../../src/export/onnx.js";
import type { TinyName } from "../model/families/tiny.js";
import { temporaryFolder } from "../model/tiny.js";
import { builtOf, openTiny, writeLora } from "./models.js";

const newFolder = async (): Promise<string> => join(await temporaryFolder(), "exported");

/** Zeroth's own logits of a whole row, [places][vocabulary]. */
const ours = async (model: Model, ids: readonly number[]): Promise<readonly Float32Array[]> => {
  const method = { kind: "full", placement: "in-place", firstLayer: 0, tensors: [] } as const;
  const { weights } = model.files;
  const extent = { head: "logits", start: 0 } as const;
  const forward = buildForward({ family: builtOf(model), weights, matrices: new Map(), extent, method, seed: 0n });
  const { folder, residents, graph } = forward;
  const { calls, close } = await openHost({
    ...{ folder, residents, placement: "in-place", runTokens: 0, threads: 1, device: "cpu" },
  });
  onTestFinished(close);
  await calls.load({ name: "logits", graph });
  const scored = ids.map((_, i) => i + 1);
  const tree = { shared: ids, branches: [{ ids: [0], scored }], label: 0, line: 1, truncated: 0 };
  const [pack] = packs([tree], { head: "tokens" });
  const { targets: _, ...feeds } = runOf(model.family, pack!).feeds;
  const [[output = new Float32Array()] = []] = await calls.evaluate({
    points: [[]],
    runs: [{ graph: "logits", feeds }],
  });
  const width = output.length / ids.length;
  return ids.map((__, i) => output.subarray(i * width, (i + 1) * width));
};

const int64 = (rows: readonly (readonly number[])[]): Tensor =>
  new Tensor("int64", BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0]!.length]);

/** Runs a graph as transformers.js does: rows padded on the left, positions from the mask, caches from run to run. */
const theirs = async (file: string, rows: readonly (readonly number[])[], stretches: readonly number[]) => {
  const session = await InferenceSession.create(file, { intraOpNumThreads: 1 });
  onTestFinished(() => session.release());
  const width = Math.max(...rows.map(({ length }) => length));
  const pad = (ids: readonly number[], fill: number) => [...Array<number>(width - ids.length).fill(fill), ...ids];
  const ids = rows.map((row) => pad(row, 0));
  const mask = rows.map((row) =>
    pad(
      row.map(() => 1),
      0,
    ),
  );
  const positions = mask.map((row) =>
    row.map((_, i) =>
      Math.max(
        0,
        row.slice(0, i).reduce((a, b) => a + b, 0),
      ),
    ),
  );
  let caches: Readonly<Record<string, Tensor>> = Object.fromEntries(
    session.inputMetadata.flatMap((input) => {
      if (!input.isTensor || !input.name.startsWith("past_key_values.")) return [];
      const [, heads, , size] = input.shape;
      return [[input.name, new Tensor("float32", new Float32Array(0), [rows.length, Number(heads), 0, Number(size)])]];
    }),
  );
  const logits: Float32Array[][] = rows.map(() => []);
  let past = 0;
  for (const length of stretches) {
    const part = (all: readonly (readonly number[])[]) => int64(all.map((row) => row.slice(past, past + length)));
    const outputs = await session.run({
      ...{ input_ids: part(ids), position_ids: part(positions), ...caches },
      attention_mask: int64(mask.map((row) => row.slice(0, past + length))),
    });
    const { data, dims } = outputs.logits!;
    expect(dims.slice(0, 2)).toEqual([rows.length, length]);
    const vocabulary = Number(dims[2]);
    rows.forEach((_, b) => {
      for (let t = 0; t < length; t++) {
        const at = (b * length + t) * vocabulary;
        logits[b]!.push((data as Float32Array).slice(at, at + vocabulary));
      }
    });
    caches = Object.fromEntries(
      Object.entries(outputs).flatMap(([name, value]) =>
        name.startsWith("present.") ? [[name.replace("present.", "past_key_values."), value as Tensor]] : [],
      ),
    );
    past += length;
  }
  // Those of the padding say nothing.
  return rows.map((row, b) => logits[b]!.slice(width - row.length));
};

const distance = (a: readonly Float32Array[], b: readonly Float32Array[]): number => {
  expect(a.map(({ length }) => length)).toEqual(b.map(({ length }) => length));
  return Math.max(...a.flatMap((row, i) => [...row].map((value, j) => Math.abs(value - b[i]![j]!))));
};

const rows = [
  [3, 7, 1, 4, 4, 9, 0, 2, 8, 5, 6, 1, 3],
  [5, 2, 9, 9, 1, 8, 3],
];
const stretches = [9, 1, 1, 2];

describe("a model as ONNX", () => {
  const names: readonly TinyName[] = ["llama", "mistral with a window", "qwen3", "phi3", "gemma3", "gpt2", "opt"];
  it.each(names)("%s: two rows, one padded, step by step with caches, have Zeroth's logits", async (name) => {
    const model = await openTiny(name);
    const out = await newFolder();
    await exportModel(model, { format: "onnx", out });
    const found = await theirs(join(out, "onnx", "model.onnx"), rows, stretches);
    for (const [i, row] of rows.entries()) expect(distance(found[i]!, await ours(model, row))).toBeLessThan(1e-4);
  });

  it("has its adapter worked in", async () => {
    const model = await openTiny("llama");
    const module = "model.layers.1.mlp.down_proj";
    const adapter = await writeLora([{ module, rank: 2, inputs: 48, outputs: 32 }], { r: 2, lora_alpha: 4 });
    const [out, folder] = [await newFolder(), await newFolder()];
    await exportModel(model, { format: "onnx", out, adapter });
    await merge(model, { adapter, out: folder });
    const [found] = await theirs(join(out, "onnx", "model.onnx"), rows.slice(0, 1), stretches);
    expect(distance(found!, await ours(await load(folder), rows[0]!))).toBeLessThan(1e-4);
    expect(distance(found!, await ours(model, rows[0]!))).toBeGreaterThan(1e-2);
  });

  it("in float16 matrices are stored in two bytes; many weights go into a file of their own", async () => {
    const model = await openTiny("llama");
    const [inside, beside] = [await newFolder(), await newFolder()];
    await exportModel(model, { format: "onnx", out: inside, dtype: "float16" });
    expect(readdirSync(join(inside, "onnx"))).toEqual(["model_fp16.onnx"]);
    const wanted = {
      model: model.files,
      family: builtOf(model),
      adapter: undefined,
      adapterOnly: false,
      dtype: "F16",
      out: beside,
    } as const;
    await onnxFormat(0).write(wanted);
    expect(readdirSync(join(beside, "onnx")).sort()).toEqual(["model_fp16.onnx", "model_fp16.onnx_data"]);
    const config = JSON.parse(readFileSync(join(beside, "config.json"), "utf8"));
    expect(config["transformers.js_config"]).toEqual({ use_external_data_format: { "model_fp16.onnx": 1 } });
    const both = await Promise.all(
      [inside, beside].map((folder) => theirs(join(folder, "onnx", "model_fp16.onnx"), rows, stretches)),
    );
    expect(both[0]).toEqual(both[1]);
    const error = distance(both[0]![0]!, await ours(model, rows[0]!));
    expect(error).toBeGreaterThan(1e-5);
    expect(error).toBeLessThan(0.1);
  });

  it("goes with its configuration, tokenizer and generation settings", async () => {
    const out = await newFolder();
    await exportModel(await openTiny("gpt2", { eos_token_id: 1 }), { format: "onnx", out });
    const names = ["config.json", "generation_config.json", "onnx", "tokenizer.json", "tokenizer_config.json"];
    expect(readdirSync(out).sort()).toEqual(names);
    const read = (name: string) => JSON.parse(readFileSync(join(out, name), "utf8"));
    expect(read("config.json")).toMatchObject({ model_type: "gpt2", n_layer: 3 });
    expect(read("config.json")).not.toHaveProperty("transformers.js_config");
    expect(read("generation_config.json")).toMatchObject({ eos_token_id: 1 });
  });

  it.each([
    ["bert", {}, "generate text"],
    ["phi3 with a part of each head turned", {}, "depend on a row's length"],
    ["llama", { dtype: "bfloat16" }, "float32 or float16"],
  ] as const)("%s with %j is refused in a sentence", async (name, more, words) => {
    const out = await newFolder();
    const refused = exportModel(await openTiny(name), { format: "onnx", out, ...more });
    await expect(refused).rejects.toThrow(words);
    await expect(refused).rejects.toMatchObject({ name: "ZerothError" });
    expect(existsSync(out)).toBe(false);
  });
});
