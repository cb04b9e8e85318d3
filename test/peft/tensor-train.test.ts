import { InferenceSession, Tensor } from "onnxruntime-node";
import { expect, test } from "vitest";
import { graphBuilder } from "../../src/graph/builder.js";
import { encodeModel } from "../../src/graph/onnx.js";
import type { OpenModel } from "../../src/model/open.js";
import { POINTS } from "../../src/peft/method.js";
import { factorsOf, tensorTrain } from "../../src/peft/tensor-train.js";
import { bindTiny } from "../model/families/tiny.js";

/* AdaZeta's adapters (arXiv 2406.18060): shapes, initial deviations, and the contraction against matrices made whole. */

const [rank, bottleneck, width] = [3, 12, 32];
const method = tensorTrain.bind(
  { files: {} as OpenModel, family: bindTiny("gpt2") },
  { rank, bottleneck, layers: "1" },
  0n,
);

test("a size is three factors near each other", () => {
  expect([4096, 64, 576, 1024, 97, 1].map(factorsOf)).toEqual([
    ...[
      [16, 16, 16],
      [4, 4, 4],
      [9, 8, 8],
    ],
    ...[
      [16, 8, 8],
      [97, 1, 1],
      [1, 1, 1],
    ],
  ]);
});

const module = "transformer.h.1.attn.c_proj";
const coresOf = (part: string) =>
  Array.from(
    { length: 6 },
    (_, i) => method.tensors.find(({ name }) => name === `base_model.model.${module}.tensor_train.${part}.${i}`)!,
  );

test("both sublayers of the block are adapted; cores have the deviation that makes the whole matrix a linear layer's", () => {
  expect(new Set(method.tensors.map(({ name }) => name.split(".tensor_train")[0]))).toEqual(
    new Set([`base_model.model.${module}`, "base_model.model.transformer.h.1.mlp.c_proj"]),
  );
  expect([method.firstLayer, method.tensors.length]).toEqual([1, 2 * (6 + 1 + 6 + 1)]);
  const down = coresOf("down");
  expect(down.map(({ shape }) => shape)).toEqual([
    ...[
      [1, 4, 3],
      [3, 4, 3],
      [3, 2, 3],
    ],
    ...[
      [3, 2, 3],
      [3, 2, 3],
      [3, 3, 1],
    ],
  ]);
  // A sum over 3⁵ paths of products of independent cores.
  const variance = down.reduce(
    (product, { initial }) => product * (initial.kind === "normal" ? initial.deviation ** 2 : Number.NaN),
    rank ** 5,
  );
  expect(variance).toBeCloseTo(1 / (width + bottleneck), 10);
});

test("contracted core by core, at two points, it is the matrices made whole", async () => {
  const g = graphBuilder("adapter");
  const x = g.input("x", "float32", ["T", width]);
  const own = new Map(method.tensors.map((tensor) => [tensor.name, tensor]));
  const inputs = new Map<string, ReturnType<typeof g.input>>();
  const tensor = (name: string) => {
    const value = inputs.get(name) ?? g.input(name, "float32", [POINTS, ...own.get(name)!.shape]);
    inputs.set(name, value);
    return value;
  };
  g.output(method.attach!(g, module, x, x, tensor), "y");
  const session = await InferenceSession.create(encodeModel(g.build()), { intraOpNumThreads: 1 });
  const wave = (size: number, phase: number) => Float32Array.from({ length: size }, (_, i) => Math.sin(i * i + phase));
  const [points, tokens] = [2, 3];
  const rows = wave(points * tokens * width, 1);
  const values = new Map(
    [...inputs.keys()].map((name, i) => {
      const size = own.get(name)!.shape.reduce((a, b) => a * b, points);
      return [name, wave(size, 3 * i)] as const;
    }),
  );
  const feeds = Object.fromEntries(
    [...values].map(([name, data]) => [name, new Tensor("float32", data, [points, ...own.get(name)!.shape])]),
  );
  const { y } = await session.run({
    ...feeds,
    x: new Tensor("float32", rows, [points * tokens, width]),
    [POINTS]: new Tensor("int64", BigInt64Array.of(BigInt(points)), [1]),
  });

  const at = (part: string) => `base_model.model.${module}.tensor_train.${part}`;
  /** An element of a train at a point: a product of the matrices that its digits choose. */
  const element = (part: string, point: number, row: number, column: number): number => {
    const cores = coresOf(part);
    const digits = [row, column].flatMap((place, side) => {
      const [, b, c] = cores.slice(3 * side, 3 * side + 3).map(({ shape }) => shape[1]!);
      return [Math.floor(place / (b! * c!)), Math.floor(place / c!) % b!, place % c!];
    });
    let path = [1];
    for (const [i, { name, shape }] of cores.entries()) {
      const [before, factor, after] = shape as [number, number, number];
      const from = point * before * factor * after;
      path = Array.from({ length: after }, (_, to) =>
        path.reduce(
          (sum, value, k) => sum + value * values.get(name)![from + (k * factor + digits[i]!) * after + to]!,
          0,
        ),
      );
    }
    return path[0]!;
  };
  const applied = (part: string, point: number, input: readonly number[], size: number): number[] =>
    Array.from({ length: size }, (_, o) =>
      input.reduce(
        (sum, value, i) => sum + value * element(part, point, i, o),
        values.get(at(`${part}.bias`))![point * size + o]!,
      ),
    );
  const found = y!.data as Float32Array;
  for (let row = 0; row < points * tokens; row++) {
    const point = Math.floor(row / tokens);
    const input = [...rows.subarray(row * width, (row + 1) * width)];
    const narrow = applied("down", point, input, bottleneck).map((value) => Math.max(value, 0));
    const wide = applied("up", point, narrow, width);
    for (const [o, value] of wide.entries()) {
      const expected = input[o]! + value;
      expect(Math.abs(found[row * width + o]! - expected)).toBeLessThan(1e-4 * Math.max(1, Math.abs(expected)) * 10);
    }
  }
});
