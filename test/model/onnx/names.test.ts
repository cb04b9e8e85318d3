import { describe, expect, test } from "vitest";
import type { Linear } from "../../../src/model/onnx/linear.js";
import { layerOf, moduleName, partsOf, targetsOf } from "../../../src/model/onnx/names.js";

/* Module paths as PEFT has them, out of the names that exporters give. */

const linear = (node: string, stored: string): Linear => {
  const of = { name: node, operator: "MatMul", domain: "", inputs: [], outputs: ["y"], attributes: {}, unknown: [] };
  return { node: of, reader: of, x: "x", output: "y", inputs: 1, outputs: 1, dtype: 1, stored };
};

test.each([
  ["/model/layers.0/self_attn/q_proj/MatMul", "onnx::MatMul_1234", "model.layers.0.self_attn.q_proj"],
  [
    "/model/layers.12/attn/o_proj/MatMul_Q4",
    "model.layers.12.attn.o_proj.MatMul.weight_Q4",
    "model.layers.12.self_attn.o_proj",
  ],
  ["/model/decoder/layers.3/fc1/MatMul_quant", "onnx::MatMul_9_quantized", "model.decoder.layers.3.fc1"],
  ["/bert/encoder/layer.1/attention/self/query/MatMul", "onnx::MatMul_7", "bert.encoder.layer.1.attention.self.query"],
  ["GptAttention_0_matmul", "transformer.h.0.attn.c_proj.weight", "transformer.h.0.attn.c_proj"],
  ["", "model.layers.1.attn.q_proj.MatMulNBits.qweight", "model.layers.1.self_attn.q_proj"],
  ["node_linear_4", "model.layers.2.mlp.up_proj.weight", "model.layers.2.mlp.up_proj"],
  ["node_12", "val_3", "node_12"],
])("the node %j over the matrix %j is %s", (node, stored, module) => {
  expect(moduleName(linear(node, stored))).toBe(module);
});

describe("queries, keys and values in one matrix", () => {
  const config = { model_type: "llama", num_attention_heads: 6, num_key_value_heads: 2 };
  const module = "model.layers.0.self_attn.qkv_proj";

  test("are three modules, in order", () => {
    expect(partsOf(module, 320, config)).toEqual([
      { module: "model.layers.0.self_attn.q_proj", from: 0, outputs: 192 },
      { module: "model.layers.0.self_attn.k_proj", from: 192, outputs: 64 },
      { module: "model.layers.0.self_attn.v_proj", from: 256, outputs: 64 },
    ]);
  });

  test("are one where the model itself has one, or sizes do not say", () => {
    const whole = [{ module, from: 0, outputs: 320 }];
    expect(partsOf(module, 320, { ...config, model_type: "phi3" })).toEqual(whole);
    expect(partsOf(module, 320, {})).toEqual(whole);
  });
});

test("blocks and default targets", () => {
  expect(["model.layers.11.mlp.up_proj", "transformer.h.0.ln_1.weight", "lm_head"].map(layerOf)).toEqual([
    11,
    0,
    undefined,
  ]);
  expect(targetsOf(["a.q_proj", "a.k_proj", "a.v_proj"])).toEqual(["q_proj", "v_proj"]);
  expect(targetsOf(["h.0.c_attn", "h.0.c_fc"])).toEqual(["c_attn"]);
  expect(targetsOf(["h.0.c_proj", "h.0.c_fc"])).toEqual(["c_proj", "c_fc"]);
});
