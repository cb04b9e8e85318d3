import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { messageOf, ZerothError } from "../../../src/errors.js";
import type { Graph, Initializer, Model, Node } from "../../../src/graph/ir.js";
import { encodeModel } from "../../../src/graph/onnx.js";
import { bytes, join as joined, message, text } from "../../../src/graph/protobuf.js";
import { readOnnx } from "../../../src/model/onnx/file.js";
import { importModel } from "../../../src/model/onnx/imported.js";
import { graphAttribute, mergedOf } from "./export.js";

/* Reading ONNX files that nobody vouches for. */

const place = realpathSync(mkdtempSync(join(tmpdir(), "zeroth-onnx-")));
afterAll(() => rmSync(place, { recursive: true, force: true }));
let count = 0;
let folder = "";
beforeEach(() => {
  folder = join(place, String(count++));
  mkdirSync(folder);
  writeFileSync(join(folder, "data.bin"), Buffer.alloc(64, 1));
});

const node = (operator: string, inputs: readonly string[], output: string, more: Partial<Node> = {}): Node => ({
  ...{ name: `/model/layers.0/${output}/${operator}`, operator, domain: "", inputs, outputs: [output] },
  ...{ attributes: {}, unknown: [] },
  ...more,
});
const inline = (name: string, shape: readonly number[], raw = new Uint8Array(4 * shape.reduce((a, b) => a * b, 1))) =>
  ({ name, dtype: 1, shape, data: { raw }, unknown: [] }) satisfies Initializer;
const external = (name: string, location: string, offset = 0, length = 64): Initializer => ({
  ...{ name, dtype: 1, shape: [4, 4], unknown: [] },
  data: { external: { location, offset, length } },
});

/** Embedding, one linear layer, head: with a cache, as text generation has it. */
const good: Graph = {
  name: "main",
  nodes: [
    node("Gather", ["embed.weight", "input_ids"], "x"),
    node("MatMul", ["x", "w"], "q_proj"),
    node("MatMul", ["q_proj", "head"], "logits", { name: "/lm_head/MatMul" }),
    node("Concat", ["past_key_values.0.key", "x"], "present.0.key", { attributes: { axis: 1 } }),
  ],
  initializers: [inline("embed.weight", [8, 4]), external("w", "data.bin"), inline("head", [4, 8])],
  inputs: [
    { name: "input_ids", type: { dtype: 7, shape: ["batch", "tokens"] }, unknown: [] },
    { name: "attention_mask", type: { dtype: 7, shape: ["batch", "tokens"] }, unknown: [] },
    { name: "past_key_values.0.key", type: { dtype: 1, shape: ["batch", "past", 4] }, unknown: [] },
  ],
  outputs: [
    { name: "logits", type: { dtype: 1, shape: ["batch", "tokens", 8] }, unknown: [] },
    { name: "present.0.key", type: undefined, unknown: [] },
  ],
  unknown: [],
};
const modelOf = (
  graph: Partial<Graph> = {},
  opsets: Model["opsets"] = [{ domain: "", version: 17, unknown: [] }],
): Model => ({
  ...{ irVersion: 8, opsets, unknown: [] },
  graph: { ...good, ...graph },
});

const written = (content: Uint8Array): string => {
  const path = join(folder, "model.onnx");
  writeFileSync(path, content);
  return path;
};
const open = (content: Uint8Array) => {
  const path = written(content);
  return importModel(readOnnx(path, folder), { config: {}, genai: undefined });
};
const opened = (graph?: Partial<Graph>, opsets?: Model["opsets"]) => open(encodeModel(modelOf(graph, opsets)));
const refusal = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(ZerothError);
    return messageOf(error);
  }
  throw new Error("it was accepted");
};

test("finds parameters by PEFT's names, and what logits do not need is gone", () => {
  const { architecture, weights } = opened();
  expect(architecture.parameters.map(({ name }) => name)).toEqual([
    "model.layers.0.q_proj.weight",
    "lm_head.weight",
    "embed.weight",
  ]);
  expect(architecture.parameters[0]).toMatchObject({ linear: true, turned: true, layer: 0 });
  expect(architecture.imported.nodes.map(({ outputs }) => outputs[0])).toEqual(["x", "q_proj", "logits"]);
  // In place: the tensor beside the graph, and those within it.
  expect(weights.get("model.layers.0.q_proj.weight")).toMatchObject({
    file: join(folder, "data.bin"),
    offset: 0,
    length: 64,
  });
  expect(weights.get("embed.weight")).toMatchObject({ file: join(folder, "model.onnx"), length: 128 });
});

test("of a merged decoder it takes the branch without a cache, whatever that branch calls its outputs", () => {
  const merged = mergedOf(modelOf());
  const found = open(encodeModel(merged));
  expect(found.architecture.imported.nodes.map(({ outputs }) => outputs[0])).toEqual(["x", "q_proj", "logits"]);
  expect(found.architecture.parameters).toEqual(opened().architecture.parameters);
  const [choice] = merged.graph.nodes as readonly [Node];
  const outputs = [{ ...merged.graph.outputs[0]!, name: "said" }, merged.graph.outputs[1]!];
  const nodes = [{ ...choice, outputs: outputs.map(({ name }) => name) }];
  const renamed = readOnnx(written(encodeModel({ ...merged, graph: { ...merged.graph, nodes, outputs } })), folder);
  expect(renamed.model.graph.nodes.at(-1)).toMatchObject({
    operator: "Identity",
    inputs: ["logits"],
    outputs: ["said"],
  });
});

describe("refused, with what is at fault:", () => {
  const [gather, product, head, cache] = good.nodes as readonly [Node, Node, Node, Node];
  const others = [good.initializers[0]!, good.initializers[2]!];

  test("a graph that runs in a circle", () => {
    const loop = { ...product, inputs: ["logits", "w"] };
    expect(refusal(() => opened({ nodes: [gather, loop, head, cache] }))).toMatch(
      /circle through the node \/.*MatMul \(MatMul\)/,
    );
  });

  test("a value that nothing gives, or two nodes do", () => {
    expect(refusal(() => opened({ nodes: [product, head, cache] }))).toContain(
      "q_proj/MatMul (MatMul) reads x, which nothing gives",
    );
    expect(refusal(() => opened({ nodes: [gather, gather, product, head, cache] }))).toContain(
      "two nodes or tensors give x",
    );
  });

  test("an operator of a domain that the runtime does not have, by its node", () => {
    const odd = { ...product, operator: "Magic", domain: "com.example" };
    expect(refusal(() => opened({ nodes: [gather, odd, head, cache] }))).toMatch(
      /q_proj\/MatMul \(Magic\) is of com\.example/,
    );
  });

  test("an operator set that is too old", () => {
    expect(refusal(() => opened({}, [{ domain: "", version: 9, unknown: [] }]))).toContain("operator set 9");
  });

  test("inputs that no decoder of one graph has, and no logits", () => {
    const input = (name: string) => ({ inputs: [...good.inputs, { ...good.inputs[0]!, name }] });
    expect(refusal(() => opened(input("pixel_values")))).toContain("pixel_values");
    const hidden = { nodes: [gather, product], outputs: [{ ...good.outputs[0]!, name: "q_proj" }] };
    expect(refusal(() => opened(hidden))).toContain("gives no logits");
  });

  test.each(["../secret.bin", "/etc/hostname", "a/../../secret.bin", "..\\secret.bin", "C:\\secret.bin", ""])(
    "weights in %j",
    (location) => {
      writeFileSync(join(place, "secret.bin"), Buffer.alloc(64));
      const initializers = [...others, external("w", location)];
      expect(refusal(() => opened({ initializers }))).toContain("outside the model's folder");
    },
  );

  test("weights behind a link that leaves the folder", () => {
    writeFileSync(join(place, "secret.bin"), Buffer.alloc(64));
    symlinkSync(join(place, "secret.bin"), join(folder, "link.bin"));
    const initializers = [...others, external("w", "link.bin")];
    expect(refusal(() => opened({ initializers }))).toContain("outside the model's folder");
  });

  test("weights that are not there, are shorter than they should be, or are of another size", () => {
    const at = (one: Initializer) => refusal(() => opened({ initializers: [...others, one] }));
    expect(at(external("w", "absent.bin"))).toContain("not there");
    expect(at(external("w", "data.bin", 32))).toContain("ends at 64");
    expect(at(external("w", "data.bin", 0, 32))).toContain("takes 64 bytes");
    expect(at(inline("w", [4, 4], new Uint8Array(60)))).toContain("takes 64 bytes, but the file holds 60");
    expect(at(inline("w", [2 ** 31, 2 ** 31], new Uint8Array(8)))).toContain("size");
    expect(at({ ...inline("w", [-4, 4], new Uint8Array(8)) })).toContain("size");
    // Sizes without bytes behind them, which a runtime would make room for.
    expect(at({ name: "w", dtype: 1, shape: [2 ** 20, 2 ** 20], data: undefined, unknown: [] })).toContain("holds 0");
  });
});

test("weights in a hub snapshot are links into its blobs, which belong to it", () => {
  const snapshot = join(folder, "snapshots", "abc");
  mkdirSync(join(snapshot, "onnx"), { recursive: true });
  mkdirSync(join(folder, "blobs"));
  writeFileSync(join(folder, "blobs", "1"), Buffer.alloc(64));
  writeFileSync(
    join(folder, "blobs", "2"),
    encodeModel(
      modelOf({
        initializers: [...good.initializers.filter(({ name }) => name !== "w"), external("w", "model.onnx_data")],
      }),
    ),
  );
  symlinkSync("../../../blobs/1", join(snapshot, "onnx", "model.onnx_data"));
  symlinkSync("../../../blobs/2", join(snapshot, "onnx", "model.onnx"));
  const { files } = readOnnx(join(snapshot, "onnx", "model.onnx"), snapshot);
  expect(files).toEqual([join(folder, "blobs", "2"), join(folder, "blobs", "1")]);
});

test("graphs within graphs are looked into, and not without end", () => {
  const inner = (graph: Uint8Array): Uint8Array =>
    joined([
      ...message(1, [
        ...text(1, "w"),
        ...text(2, "y"),
        ...text(4, "If"),
        ...bytes(5, graphAttribute("then_branch", graph).raw),
      ]),
    ]);
  const nested = (depth: number): Uint8Array => (depth === 0 ? new Uint8Array(0) : inner(nested(depth - 1)));
  const branch = (depth: number) => {
    const attributes = { then_branch: graphAttribute("then_branch", nested(depth)) };
    const odd = node("If", ["x"], "y", { attributes });
    return { nodes: [good.nodes[0]!, odd, { ...good.nodes[1]!, inputs: ["y", "w"] }, ...good.nodes.slice(2)] };
  };
  expect(opened(branch(2)).architecture.imported.nodes).toHaveLength(4);
  expect(refusal(() => opened(branch(40)))).toContain("graphs within graphs");
});

const RUNS = Number(process.env.ZEROTH_FUZZ_RUNS ?? 150);
const survives = (content: Uint8Array): void => {
  try {
    open(content);
  } catch (error) {
    if (!(error instanceof ZerothError)) throw error;
    expect(messageOf(error).split("\n").length).toBeLessThanOrEqual(4);
  }
};

test.each([
  ["a model", modelOf()],
  ["a merged one", mergedOf(modelOf())],
])(
  "any bytes, cuts and flipped bits of %s give a model or one error that a user can act on",
  (_, model) => {
    const whole = encodeModel(model);
    survives(whole);
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), survives), { numRuns: RUNS, seed: 1 });
    for (let end = 0; end < whole.length; end += 17) survives(whole.subarray(0, end));
    const flips = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 })), {
      minLength: 1,
      maxLength: 6,
    });
    fc.assert(
      fc.property(flips, (places) => {
        const damaged = Uint8Array.from(whole);
        for (const [at, mask] of places) damaged[at] = (damaged[at] ?? 0) ^ mask;
        survives(damaged);
      }),
      { numRuns: 2 * RUNS, seed: 2 },
    );
  },
  60_000,
);
