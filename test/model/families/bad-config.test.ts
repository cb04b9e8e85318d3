import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { treeBuilder } from "../../../src/data/tokenize.js";
import { buildForward } from "../../../src/engine/plan.js";
import { messageOf, ZerothError } from "../../../src/errors.js";
import { bindFamily, families } from "../../../src/model/families/index.js";
import type { OpenModel } from "../../../src/model/open.js";
import type { TensorSource } from "../../../src/model/weights.js";
import { mutated } from "../../damage.js";
import { bindTiny, type TinyName, tinyConfigs } from "./tiny.js";

/* Configurations that no longer fit their weights, or make no sense. */

const tokenizer = {} as OpenModel["tokenizer"];
/** A tiny model whose tensors are known by their headers alone. */
const openTiny = (name: TinyName, config: Readonly<Record<string, unknown>> = tinyConfigs[name]): OpenModel => {
  const sources = bindTiny(name).parameters.map(
    ({ name: tensor, shape }): TensorSource => ({
      ...{ name: tensor, shape, encoding: "F32", file: "/model/model.safetensors", offset: 0 },
      length: 4 * shape.reduce((a, b) => a * b, 1),
    }),
  );
  return {
    ...{ origin: { spec: "model", kind: "folder", path: "/model" }, config, configFile: "/model/config.json" },
    ...{ weights: new Map(sources.map((source) => [source.name, source])), files: [], tokenizer, sidecars: () => [] },
    ...{ generation: {}, tokenizerFiles: {} as OpenModel["tokenizerFiles"] },
  };
};

/** Binds a configuration and makes all that is made of it before its weights are read. */
const use = (model: OpenModel): void => {
  const family = bindFamily(model);
  const method = { kind: "full", placement: "in-place", firstLayer: 0, tensors: [] } as const;
  const { weights } = model;
  buildForward({ family, weights, matrices: new Map(), extent: { head: "columns", start: 0 }, method, seed: 0n });
  const standing = (values: readonly number[]) => Int32Array.from(values);
  const places = family.places({
    positions: standing([0, 1, 2]),
    rowLengths: standing([3, 3, 3]),
    types: standing([0, 0, 1]),
  });
  for (const { data } of Object.values(places)) expect([...data].every(Number.isFinite)).toBe(true);
};
const outcome = (model: OpenModel): string | undefined => {
  try {
    use(model);
    return undefined;
  } catch (error) {
    if (!(error instanceof ZerothError)) throw error;
    expect(messageOf(error).split("\n").length).toBeLessThanOrEqual(4);
    return error.message;
  }
};

const RUNS = Number(process.env.ZEROTH_FUZZ_RUNS ?? 60);
const names = Object.keys(tinyConfigs) as TinyName[];

describe.each(names)("config.json of %s", (name) => {
  const good = tinyConfigs[name];

  it("is read", () => {
    expect(outcome(openTiny(name))).toBeUndefined();
  });

  it("with a few fields changed is read or refused, never anything else", () => {
    const before = process.memoryUsage().rss;
    // Fields that files often have, beside the family's own.
    const common = {
      ...{ rope_theta: 10000, rope_scaling: { rope_type: "linear", factor: 2 }, head_dim: 8, layer_types: null },
      ...{ hidden_act: "gelu", tie_word_embeddings: true, sliding_window: null, id2label: { 0: "a" }, pad_token_id: 0 },
    };
    let refused = 0;
    fc.assert(
      fc.property(fc.oneof(mutated({ ...good }), mutated({ ...common, ...good })), (config) => {
        if (outcome(openTiny(name, config)) !== undefined) refused++;
      }),
      { numRuns: RUNS },
    );
    expect(refused).toBeGreaterThan(RUNS / 5);
    expect(process.memoryUsage().rss - before).toBeLessThan(300 * 2 ** 20);
  });

  it("that claims more than there can be is refused before anything is made of it", () => {
    const before = process.memoryUsage().rss;
    const layers = Object.keys(good).find((field) => /^n_layer$|^num_hidden_layers$/.test(field)) ?? "";
    const sizes = Object.keys(good).filter((field) =>
      /hidden_size|vocab_size|intermediate_size|n_embd|ffn_dim/.test(field),
    );
    // OPT calls its inner size by another name.
    const unread = "ffn_dim" in good ? ["intermediate_size"] : [];
    const fields = [layers, ...sizes].filter((field) => field !== "type_vocab_size" && !unread.includes(field));
    for (const field of fields) {
      for (const claim of [1e9, 2 ** 53 - 1])
        expect(outcome(openTiny(name, { ...good, [field]: claim })), `${field}: ${claim}`).toMatch(/config|shape/);
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(200 * 2 ** 20);
  });

  it("whose model type is not known is told which are", () => {
    const message = outcome(openTiny(name, { ...good, model_type: "mamba" }));
    expect(message).toContain('model_type "mamba" is not supported');
    for (const type of families.flatMap(({ modelTypes }) => modelTypes)) expect(message).toContain(type);
  });
});

describe("weights that are there in a form which is not read", () => {
  const without = (name: string, more: Partial<OpenModel> = {}): OpenModel => {
    const model = openTiny("llama");
    return { ...model, weights: new Map([...model.weights].filter(([tensor]) => tensor !== name)), ...more };
  };
  const q = "model.layers.1.self_attn.q_proj.weight";

  it("are named with their type and what is read", () => {
    const unread = new Map([[q, { file: "/model/model.safetensors", dtype: "F8_E4M3" }]]);
    expect(outcome(without(q, { unread }))).toBe(
      `/model/model.safetensors: ${q} has dtype F8_E4M3. Zeroth reads F32, F16, BF16, and GGUF.`,
    );
  });

  it("of a quantized model say so", () => {
    const config = { ...tinyConfigs.llama, quantization_config: { quant_method: "gptq" } };
    expect(outcome(without(q, { config }))).toMatch(/lack model\.layers\.1\.self_attn\.q_proj\.weight.*\n.*as a GGUF/);
    expect(outcome(without(q))).toMatch(
      /lack model\.layers\.1\.self_attn\.q_proj\.weight, which this configuration needs\.$/,
    );
  });
});

it("a tokenizer that knows no mask is told where a mask is needed", () => {
  const plain = { encode: (text: string) => [...text].map((letter) => letter.charCodeAt(0)) };
  const family = bindFamily(openTiny("bert"));
  const options = ["a", "b"];
  const row = { fields: {}, file: "x.jsonl", line: 1 };
  const example = { kind: "masked", row, before: "a", after: ".", label: 0, options, answers: options } as const;
  expect(() => treeBuilder(plain, family.contextLength, family)(example)).toThrow("has no mask token");
});
