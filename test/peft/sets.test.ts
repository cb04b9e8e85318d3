import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { load, type Model } from "../../src/api/load.js";
import { tuningOf } from "../../src/api/settings.js";
import { readTensorSync } from "../../src/model/weights.js";
import { readAdapter, saveAdapter } from "../../src/peft/adapter.js";
import { bias } from "../../src/peft/bias.js";
import { full } from "../../src/peft/full.js";
import { lora } from "../../src/peft/lora.js";
import { writeMask } from "../../src/peft/mask.js";
import type { Method } from "../../src/peft/method.js";
import { sparse } from "../../src/peft/sparse.js";

/* Which tensors a method trains, by its options; what is refused. */

const place = mkdtempSync(join(tmpdir(), "zeroth-sets-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));
let model: Model;
beforeAll(async () => {
  model = await load(fileURLToPath(new URL("../../assets/seedling", import.meta.url)));
});
const shapesOf = ({ tensors }: Method) => Object.fromEntries(tensors.map(({ name, shape }) => [name, shape]));

describe("lora", () => {
  test("modules have ranks of their own and rsLoRA's scale, and a folder says so", async () => {
    const options = { rank: 2, alpha: 8, targets: "q_proj:4, v_proj", rslora: true, layers: "1" };
    const method = lora.bind(model, options, 0n);
    const at = "base_model.model.model.layers.1.self_attn";
    expect(shapesOf(method)).toEqual({
      [`${at}.q_proj.lora_A.weight`]: [4, 192],
      [`${at}.q_proj.lora_B.weight`]: [192, 4],
      [`${at}.v_proj.lora_A.weight`]: [2, 192],
      [`${at}.v_proj.lora_B.weight`]: [64, 2],
    });
    // One element of A and B each: what merging adds is the scale, alpha over the root of the module's own rank.
    const merges = method.merge as Exclude<typeof method.merge, string | undefined>;
    for (const [module, rank] of [["q_proj", 4] as const, ["v_proj", 2] as const]) {
      const { from, into } = merges.get(`model.layers.1.self_attn.${module}.weight`)!;
      const [a, b] = from.map((name) => new Float32Array(shapesOf(method)[name]!.reduce((x, y) => x * y)));
      a![0] = 1;
      b![0] = 1;
      const weight = new Float32Array((b!.length / rank) * 192);
      into(weight, a!, b!);
      expect(weight[0]).toBeCloseTo(8 / Math.sqrt(rank), 6);
      expect(weight.filter((value) => value !== 0)).toHaveLength(1);
    }
    const folder = join(place, "ranks");
    await saveAdapter(folder, model, lora, { method, options }, async (name) =>
      new Float32Array(shapesOf(method)[name]!.reduce((x, y) => x * y)).fill(0.5),
    );
    expect(JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"))).toMatchObject({
      ...{ r: 2, rank_pattern: { q_proj: 4 }, use_rslora: true, target_modules: ["q_proj", "v_proj"] },
      layers_to_transform: [1],
    });
    expect(shapesOf(readAdapter(folder, model).method)).toEqual(shapesOf(method));
  });

  test.each(["q_proj:0", "q_proj:x", ":4", ""])("the targets %j are refused", (targets) => {
    expect(() => lora.bind(model, { targets }, 0n)).toThrow(/--targets/);
  });
});

describe("full and bias", () => {
  test("a pattern of names chooses, within the layers", () => {
    const { tensors, firstLayer } = full.bind(model, { train: "norm|o_proj", layers: "4..5" }, 0n);
    expect(tensors.map(({ name }) => name)).toEqual(
      [4, 5].flatMap((layer) =>
        ["input_layernorm", "self_attn.o_proj", "post_attention_layernorm"].map(
          (name) => `model.layers.${layer}.${name}.weight`,
        ),
      ),
    );
    expect(firstLayer).toBe(4);
    expect(full.bind(model, {}, 0n).tensors).toHaveLength(model.family.parameters.length);
  });

  test("what matches nothing is refused with names that there are; so is a model without biases", () => {
    expect(() => full.bind(model, { train: "ln_1" }, 0n)).toThrow(/--train ln_1.*model\.norm\.weight/);
    expect(() => bias.bind(model, {}, 0n)).toThrow(/--method bias: .*seedling has no biases\.$/);
  });
});

describe("sparse", () => {
  test("without a file, the elements that are largest in magnitude are the set, ascending", () => {
    const { indices = new Map(), tensors } = sparse.bind(model, { density: 0.003, layers: "2" }, 0n);
    expect(indices.size).toBe(7);
    for (const [name, elements] of indices) {
      const values = readTensorSync(model.files.weights.get(name)!);
      const ranked = [...values.keys()].sort((a, b) => Math.abs(values[b]!) - Math.abs(values[a]!) || a - b);
      const expected = ranked.slice(0, Math.round(0.003 * values.length)).sort((a, b) => a - b);
      expect([...elements]).toEqual(expected);
      expect(tensors.find((tensor) => tensor.name === `${name}.values`)?.shape).toEqual([expected.length]);
    }
  });

  test("a file says which; another choice is another set, and what is no linear layer is refused", async () => {
    const name = "model.layers.0.mlp.up_proj.weight";
    const file = join(place, "indices.safetensors");
    await writeMask(file, new Map([[name, Uint32Array.of(3, 70)]]));
    const method = sparse.bind(model, { indices: file }, 0n);
    expect(shapesOf(method)).toEqual({ [`${name}.values`]: [2] });
    await writeMask(file, new Map([[name, Uint32Array.of(3, 71)]]));
    expect(sparse.bind(model, { indices: file }, 0n).stamp).not.toBe(method.stamp);
    await writeMask(file, new Map([["model.norm.weight", Uint32Array.of(3)]]));
    expect(() => sparse.bind(model, { indices: file }, 0n)).toThrow(/model\.norm\.weight is no tensor/);
  });
});

test("a method starts from the optimizer's numbers for its kind: MeZO's published ones for a prefix", () => {
  expect(tuningOf("mezo", "prefix")).toEqual({ learningRate: 1e-2, epsilon: 1e-1 });
});
