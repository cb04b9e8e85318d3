import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { load } from "../../src/api/load.js";
import { merge } from "../../src/api/merge.js";
import { encodings, writers } from "../../src/model/encodings.js";
import { readTensorSync } from "../../src/model/weights.js";
import { loraModules, loraNames } from "../../src/peft/lora.js";
import { openTiny, writeLora } from "../export/models.js";
import { type TinyName, weightsOf } from "../model/families/tiny.js";
import { temporaryFolder } from "../model/tiny.js";

const encodingOf = { float32: "F32", float16: "F16", bfloat16: "BF16" } as const;
/** Rounding does not depend on the family: all types where weights lie one way, and where they are turned. */
const dtypesOf = (name: TinyName): readonly (keyof typeof encodingOf)[] =>
  name === "llama" || name === "gpt2" ? ["float32", "float16", "bfloat16"] : ["float32"];
const names: readonly TinyName[] = [
  ...(["llama", "mistral with a window", "qwen2", "qwen3", "phi3", "gemma3", "gpt2", "opt"] as const),
  ...(["opt with norms after", "roberta", "bert"] as const),
];

/** W + scale·B·A, element by element in float64, rounded once. */
const merged = (
  weight: Float32Array,
  a: Float32Array,
  b: Float32Array,
  { inputs, outputs, rank, scale, turned }: ReturnType<typeof loraModules>[number],
): Float32Array =>
  weight.map((value, at) => {
    const [o, i] = turned ? [at % outputs, Math.floor(at / outputs)] : [Math.floor(at / inputs), at % inputs];
    const products = Array.from({ length: rank }, (_, r) => scale * b[o * rank + r]! * a[r * inputs + i]!);
    return value + products.reduce((sum, one) => sum + one, 0);
  });

describe("an adapter on every linear layer, merged, is W + scale·B·A", () => {
  it.each(names)("%s", { timeout: 120_000 }, async (name) => {
    const model = await openTiny(name);
    const { parameters } = model.family;
    const config = { peft_type: "LORA" as const, r: 2, lora_alpha: 3, target_modules: "all-linear" };
    const modules = loraModules(config, parameters);
    expect(modules.length).toBe(parameters.filter(({ linear }) => linear === true).length);
    const adapter = await writeLora(modules, config);
    const wanted = new Map(
      modules.map((module) => {
        const [a, b] = [loraNames(module.module).a, loraNames(module.module).b];
        const { rank, inputs, outputs, turned } = module;
        const weight = weightsOf(`${module.module}.weight`, turned ? [inputs, outputs] : [outputs, inputs]);
        const sides = [weightsOf(a, [rank, inputs]), weightsOf(b, [outputs, rank])] as const;
        return [`${module.module}.weight`, merged(weight, ...sides, module)];
      }),
    );
    for (const dtype of dtypesOf(name)) {
      const encoding = encodingOf[dtype];
      const out = join(await temporaryFolder(), "merged");
      await merge(model, { adapter, out, dtype });
      const found = await load(out);
      for (const { name: tensor, shape } of parameters) {
        const exact = wanted.get(tensor) ?? weightsOf(tensor, shape);
        const rounded = new Float32Array(exact.length);
        encodings[encoding].decode(writers[encoding](exact), rounded);
        const values = readTensorSync(found.files.weights.get(tensor)!);
        // The order of the sums may differ in the last bit of fp32, and so, rarely, in one step of the narrower types.
        const step = { F32: 2 ** -23, F16: 2 ** -10, BF16: 2 ** -7 }[encoding];
        const worst = values.reduce(
          (most, value, i) => Math.max(most, Math.abs(value - rounded[i]!) / Math.max(1, Math.abs(rounded[i]!))),
          0,
        );
        expect(worst, `${tensor} in ${dtype}`).toBeLessThanOrEqual(step);
        if (!wanted.has(tensor) && dtype === "float32") expect(worst, tensor).toBe(0);
      }
    }
  });
});
