import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { full, lora, mezo } from "../../src/api/choices.js";
import { batchOf, lossesOf } from "../../src/api/doctor/noise.js";
import { doctor } from "../../src/api/doctor.js";
import { openAdapted, openEngine } from "../../src/api/engines.js";
import { evaluate } from "../../src/api/evaluate.js";
import { finetune } from "../../src/api/finetune.js";
import { load, type Model } from "../../src/api/load.js";
import { predict } from "../../src/api/predict.js";
import { trainerOf } from "../../src/api/prepare.js";
import { replay } from "../../src/api/replay.js";
import { resolveSettings } from "../../src/api/settings.js";
import type { FinetuneOptions } from "../../src/api/types.js";
import { packs } from "../../src/batch/pack.js";
import type { TokenTree } from "../../src/data/tree.js";
import { runOf } from "../../src/engine/feeds.js";
import { messageOf, ZerothError } from "../../src/errors.js";
import type { Point } from "../../src/estimator/estimator.js";
import { decodeModel, encodeModel } from "../../src/graph/onnx.js";
import { objectives } from "../../src/objective/objectives.js";
import { readAdapter } from "../../src/peft/adapter.js";
import { type ExportOptions, writeExport, writeNative } from "../model/onnx/export.js";

/* Models that come with a graph of their own, against the same weights in a graph that is built here. */

const place = mkdtempSync(join(tmpdir(), "zeroth-onnx-api-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));
let count = 0;
const fresh = (): string => join(place, String(count++));
const LAYERS = 2;
const exported = async (options: ExportOptions = {}): Promise<Model> =>
  load(await writeExport(fresh(), { ...options, layers: LAYERS }));
const LONG = 300_000;

let native: Model;
let imported: Model;
beforeAll(async () => {
  native = await load(writeNative(fresh(), LAYERS));
  imported = await exported({ external: true });
}, LONG);

const tree = (shared: readonly number[], ...options: readonly (readonly number[])[]): TokenTree => ({
  ...{ shared, label: options.length - 1, line: 1, truncated: 0 },
  branches: options.map((ids) => ({ ids, scored: ids.map((_, i) => shared.length + i) })),
});
/** Rows of other lengths side by side; options of one token each, and of more. */
const short = [
  tree([5, 9, 100, 7], [33], [21]),
  tree([40, 41], [33], [21]),
  tree([900, 3, 17, 1200, 8, 6, 2], [33], [21]),
];
const long = [tree([5, 9, 100], [33, 8], [21, 50, 4]), tree([40, 41, 900, 3, 8, 11], [33, 1], [21])];

const outputsOf = async (model: Model, trees: readonly TokenTree[], adapter?: string): Promise<number[]> => {
  const { engine } = await openAdapted(model, { adapter });
  try {
    const runs = packs(trees).map((pack) => runOf(model.family, pack));
    const [rows = []] = await engine.evaluate({ points: [[]], runs });
    return rows.flatMap((row) => [...row]);
  } finally {
    await engine.close();
  }
};
const furthest = (a: readonly number[], b: readonly number[]): number => {
  expect(a.length).toBe(b.length);
  return Math.max(...a.map((value, i) => Math.abs(value - (b[i] ?? Number.NaN))));
};

describe.each<ExportOptions>([
  { external: true },
  { merged: true },
  { merged: true, external: true },
  { style: "genai" },
  { style: "genai", packed: true },
])("an export %j", (options) => {
  let model: Model;
  beforeAll(async () => {
    model = await exported(options);
  }, LONG);

  test(
    "gives the native model's logits, rows padded on the right",
    async () => {
      expect(furthest(await outputsOf(model, short), await outputsOf(native, short))).toBeLessThan(1e-4);
      expect(furthest(await outputsOf(model, long), await outputsOf(native, long))).toBeLessThan(1e-4);
    },
    LONG,
  );

  test(
    "gives the native model's projected gradients, and those of many points at once are those one by one",
    async () => {
      const slopesOf = async (of: Model) => {
        const settings = resolveSettings({ method: "lora", optimizer: "mezo", targets: "all-linear", seed: 3 }, 1);
        const trainer = trainerOf(of, settings, 8);
        const engine = await openEngine(of, {
          ...{ method: trainer.method, training: trainer, seed: 3n },
          runTokens: 512,
        });
        try {
          const losses = lossesOf(engine, batchOf(of.family, objectives.classification, long));
          const points = [0, 1].flatMap((query): Point[] =>
            [0.02, -0.02].map((scale) => [{ key: { seed: 3n, stream: "noise", step: 0, query }, scale }]),
          );
          const together = await losses(points);
          const apart: number[] = [];
          for (const point of points) apart.push(...(await losses([point])));
          return { together, apart, slopes: [0, 2].map((i) => ((together[i] ?? 0) - (together[i + 1] ?? 0)) / 0.04) };
        } finally {
          await engine.close();
        }
      };
      const [ours, theirs] = [await slopesOf(native), await slopesOf(model)];
      expect(furthest(theirs.together, theirs.apart)).toBeLessThan(1e-5);
      expect(furthest(theirs.slopes, ours.slopes)).toBeLessThan(1e-3);
      expect(Math.min(...ours.slopes.map(Math.abs))).toBeGreaterThan(1e-2);
    },
    LONG,
  );
});

const task = {
  data: fileURLToPath(new URL("../../assets/quickstart", import.meta.url)),
  prompt: "{text} {name} was so",
  options: " sad, happy",
  labels: "sad,happy",
} as const;
const few = { trainRows: 12, devRows: 0, batchSize: 4, steps: 3, noiseCheck: false, threads: 1 } as const;
const tuned = async (model: Model, options: Partial<FinetuneOptions> = {}) => {
  const out = fresh();
  const optimizer = mezo({ learningRate: 1e-2, epsilon: 1e-2 });
  const run = finetune(model, { ...task, ...few, optimizer, method: lora({ rank: 4 }), out, ...options });
  const notes: string[] = [];
  for await (const event of run) if (event.type === "note") notes.push(event.message);
  return { out, notes };
};

test(
  "an adapter that one of them trained is the other's, name by name and logit by logit",
  async () => {
    for (const [trained, other] of [
      [native, imported],
      [imported, native],
    ] as const) {
      const { out } = await tuned(trained);
      expect([...readAdapter(out, other).tensors.keys()].sort()).toEqual(
        [...readAdapter(out, trained).tensors.keys()].sort(),
      );
      const [a, b] = [await outputsOf(trained, short, out), await outputsOf(other, short, out)];
      expect(furthest(a, b)).toBeLessThan(1e-4);
      expect(furthest(a, await outputsOf(trained, short))).toBeGreaterThan(1e-3);
    }
  },
  2 * LONG,
);

test(
  "all parameters train in place, and the tuned model is an ONNX model, the same again by replay",
  async () => {
    const { out } = await tuned(imported, { method: full(), optimizer: mezo({ learningRate: 1e-4, epsilon: 1e-3 }) });
    expect(existsSync(join(out, "onnx", "model.onnx"))).toBe(true);
    const after = await load(out);
    expect(after.family.parameters).toEqual(imported.family.parameters);
    const [a, b] = [await outputsOf(after, short), await outputsOf(imported, short)];
    expect(furthest(a, b)).toBeGreaterThan(1e-4);
    expect(furthest(a, b)).toBeLessThan(1);
    const again = fresh();
    await replay(imported, { run: out, out: again });
    const data = (folder: string) => readFileSync(join(folder, "onnx", "model.onnx_data"));
    expect(data(again).equals(data(out))).toBe(true);
    expect(await outputsOf(imported, short, out)).toEqual(a);
  },
  2 * LONG,
);

test(
  "blocks of 4 bits: int8 activations are run in fp32, which is told; full and merge are refused",
  async () => {
    const blocks = await exported({ style: "genai", linear: "q4" });
    expect(blocks.notes.join()).toContain("accuracy_level 4");
    // To the last digits what the floats give that the blocks stand for.
    const floats = await outputsOf(await exported({ style: "genai", linear: "rounded" }), short);
    expect(furthest(await outputsOf(blocks, short), floats)).toBeLessThan(1e-4);
    const apart = await exported({ style: "genai", linear: "qdq" });
    expect(apart.family.parameters.filter(({ linear }) => linear)).toHaveLength(LAYERS * 7);
    expect(furthest(await outputsOf(apart, short), floats)).toBeLessThan(1e-4);
    const { out, notes } = await tuned(blocks);
    expect(notes).toEqual(blocks.notes);
    const [base, adapted] = [await outputsOf(blocks, short), await outputsOf(blocks, short, out)];
    expect(furthest(base, adapted)).toBeGreaterThan(1e-4);
    await expect(tuned(blocks, { method: full() })).rejects.toThrow(/blocks of few bits/);
    await expect(tuned(blocks, { quantize: 4 })).rejects.toThrow(ZerothError);
  },
  LONG,
);

test.each<ExportOptions>([{ linear: "half" }, { linear: "dynamic" }])(
  "an adapter moves the logits of %j layers as it moves the native model's",
  async (options) => {
    const model = await exported(options);
    expect(model.notes).toHaveLength(1);
    const { out } = await tuned(native);
    const movesOf = async (of: Model) => {
      const [before, after] = [await outputsOf(of, short), await outputsOf(of, short, out)];
      return after.map((value, i) => value - (before[i] ?? 0));
    };
    const [ours, theirs] = [await movesOf(native), await movesOf(model)];
    const size = Math.max(...ours.map(Math.abs));
    expect(size).toBeGreaterThan(1e-3);
    expect(furthest(theirs, ours)).toBeLessThan(size / 2);
  },
  LONG,
);

test(
  "evaluate, predict and doctor take it as they take any model",
  async () => {
    const data = task.data;
    const same = { ...task, data, limit: 20, threads: 1 };
    expect((await evaluate(imported, same)).correct).toBe((await evaluate(native, same)).correct);
    const rows = [{ text: "Tom lost his toy.", name: "Tom" }];
    for await (const { prediction } of predict(imported, rows, { ...task, threads: 1 }))
      expect(["sad", "happy"]).toContain(prediction);
    const report = await doctor(imported, { ...task, ...few, probe: false, method: lora({ rank: 4 }) });
    expect(report.cost.trainableParameters).toBe(LAYERS * 4 * (2 * 192 + 192 + 64));
  },
  2 * LONG,
);

test(
  "an operator that the runtime does not know is named with its node",
  async () => {
    const folder = await writeExport(fresh(), { layers: 1 });
    const file = join(folder, "onnx", "model.onnx");
    const model = decodeModel(readFileSync(file));
    const nodes = model.graph.nodes.map((node) =>
      node.operator === "Sigmoid" ? { ...node, operator: "Sigmoyd" } : node,
    );
    writeFileSync(file, encodeModel({ ...model, graph: { ...model.graph, nodes } }));
    const odd = await load(folder);
    await expect(outputsOf(odd, short)).rejects.toThrow(/\/Sigmoid_\d+.*Sigmoyd/);
    await expect(outputsOf(odd, short)).rejects.toBeInstanceOf(ZerothError);
  },
  LONG,
);

test(
  "a folder of several graphs asks for one, and a graph can be named",
  async () => {
    const folder = await writeExport(fresh(), { layers: 1 }, "onnx/model_fp16.onnx");
    await writeExport(folder, { layers: 1 }, "onnx/model_q4.onnx");
    const message = await load(folder).then(String, messageOf);
    expect(message).toContain("onnx/model_fp16.onnx, onnx/model_q4.onnx");
    expect((await load(join(folder, "onnx", "model_q4.onnx"))).family.layers).toBe(1);
  },
  LONG,
);
