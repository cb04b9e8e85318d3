import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openEngine } from "../../src/api/engines.js";
import { trainingTrees } from "../../src/api/examples.js";
import { load, type Model } from "../../src/api/load.js";
import { resolveSettings } from "../../src/api/settings.js";
import { trainingOf } from "../../src/api/training.js";
import { type Pack, packs } from "../../src/batch/pack.js";
import { readRows } from "../../src/data/rows.js";
import { templateTask } from "../../src/data/template.js";
import type { Engine } from "../../src/engine/engine.js";
import { repeated, runOf, tokensOf } from "../../src/engine/feeds.js";
import { walkBetween } from "../../src/engine/trainables.js";
import { lossOf } from "../../src/objective/objective.js";
import { classification } from "../../src/objective/option.js";
import { type OptimizerName, optimizers } from "../../src/optimizer/optimizers.js";
import { fullMethod } from "../../src/peft/full.js";
import { loraMethod, loraModules, loraNames } from "../../src/peft/lora.js";
import type { Method } from "../../src/peft/method.js";
import type { PerturbationName } from "../../src/perturbation/perturbations.js";
import type { Key } from "../../src/random/key.js";
import { tensorId, tensorKey } from "../../src/random/key.js";
import { fillNoise } from "../../src/random/noise.js";
import { asset, question } from "../seedling.js";

/* The oracle on the model that ships with Zeroth: losses at points, walks, updates. */

const place = mkdtempSync(join(tmpdir(), "zeroth-engine-"));
let model: Model;
let batch: readonly Pack[];
const engines: Engine[] = [];
afterAll(async () => {
  for (const engine of engines) await engine.close();
  rmSync(place, { recursive: true, force: true });
});
beforeAll(async () => {
  model = await load(asset("seedling"));
  const task = templateTask(question);
  const rows = (await readRows(join(asset("quickstart"), "train.jsonl"))).slice(0, 8);
  const treeAt = trainingTrees(model, task, rows);
  batch = packs(rows.map((_, i) => treeAt(i)));
});

const key = (step: number, query = 0): Key => ({ seed: 4n, stream: "noise", step, query });
const open = async (
  method: Method,
  optimizer: OptimizerName = "mezo",
  perturbation: PerturbationName = "gaussian",
  threads = 1,
  runTokens = 0,
): Promise<Engine> => {
  const settings = resolveSettings({ optimizer, perturbation, method: method.kind }, 1);
  const training = trainingOf(settings, method, model.family.layers, 1);
  const engine = await openEngine(model, { method, training, seed: 0n, threads, runTokens });
  engines.push(engine);
  return engine;
};
const losses = async (engine: Engine, points: Parameters<Engine["evaluate"]>[0]["points"]): Promise<number[]> =>
  (await engine.evaluate({ points, runs: batch.map((pack) => runOf(model.family, pack)) })).map((outputs) =>
    lossOf(classification, batch, outputs),
  );
const weightsOf = async (engine: Engine): Promise<Map<string, Float32Array>> => {
  const out = new Map<string, Float32Array>();
  for (const { name, shape } of await engine.held()) {
    out.set(name, await engine.read({ name, start: 0, count: shape.reduce((a, b) => a * b, 1) }));
  }
  return out;
};
const lora = () =>
  loraMethod(
    loraModules({ peft_type: "LORA", r: 4, lora_alpha: 8, target_modules: "all-linear" }, model.family.parameters),
  );
const full = () => fullMethod(model.family.parameters);
/** A hash: comparing millions of elements one by one takes seconds. */
const bits = (data: Float32Array) =>
  createHash("sha1")
    .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    .digest("hex");

describe("LoRA", () => {
  test("starts as the base model to the bit: B is zero", async () => {
    const [base] = await losses(await open({ kind: "full", placement: "in-place", firstLayer: 0, tensors: [] }), [[]]);
    const [adapted] = await losses(await open(lora()), [[]]);
    expect(adapted).toBe(base);
  });

  test("T5: is perturbed in copies, so a step of size zero leaves every bit", async () => {
    const engine = await open(lora());
    const before = await weightsOf(engine);
    const once = await losses(engine, [[{ key: key(1), scale: 1e-2 }], [{ key: key(1), scale: -1e-2 }], []]);
    await engine.update({
      update: { gradient: [{ key: key(1), scale: 3 }], curvature: [] },
      scalars: { learningRate: 0 },
      step: 0,
    });
    for (const [name, data] of await weightsOf(engine)) expect(bits(data)).toBe(bits(before.get(name)!));
    // How requests are grouped does not matter either.
    const apart = [];
    for (const scale of [1e-2, -1e-2]) apart.push(...(await losses(engine, [[{ key: key(1), scale }]])));
    expect([...apart, ...(await losses(engine, [[]]))]).toEqual(once);
  });
});

describe("several points in one run", () => {
  // 3 queries and the live weights: 7 points of 97 tokens, which go into runs of 2, 5 or all.
  const points = [[], ...[1, 2, 3].flatMap((query) => [1e-2, -1e-2].map((scale) => [{ key: key(6, query), scale }]))];
  const moved = async (engine: Engine) => {
    await engine.update({
      update: { gradient: [{ key: key(1), scale: 30 }], curvature: [] },
      scalars: { learningRate: 1e-2 },
      step: 0,
    });
    return engine;
  };

  test("give the losses of one after the other, to 1e-6", async () => {
    const alone = await losses(await moved(await open(lora())), points);
    for (const runTokens of [200, 500, 5000]) {
      const together = await losses(await moved(await open(lora(), "mezo", "gaussian", 1, runTokens)), points);
      for (const [i, loss] of together.entries()) expect(Math.abs(loss - alone[i]!)).toBeLessThan(1e-6);
      // Another point is another loss, and not by rounding.
      for (const [i, loss] of together.entries())
        for (const other of together.slice(i + 1)) expect(Math.abs(loss - other)).toBeGreaterThan(1e-5);
    }
  });

  test("have the same bits with one kernel thread and two, and asked for again", async () => {
    const [one, two] = [await open(lora(), "mezo", "gaussian", 1, 500), await open(lora(), "mezo", "gaussian", 2, 500)];
    const first = await losses(one, points);
    expect(await losses(one, points)).toEqual(first);
    for (const [i, loss] of (await losses(two, points)).entries())
      expect(Math.abs(loss - first[i]!)).toBeLessThan(1e-6);
    expect(bits((await weightsOf(two)).get("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight")!)).toBe(
      bits((await weightsOf(one)).get("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight")!),
    );
  });

  test("are as many as fill the run, and one at a time where one is too long", async () => {
    const feeds = runOf(model.family, batch[0]!).feeds;
    const tokens = tokensOf(feeds);
    const two = repeated(feeds, 2);
    expect(tokensOf(two)).toBe(2 * tokens);
    expect([...two.take!.data].slice(-2)).toEqual(
      [...feeds.take!.data].slice(-2).map((place) => Number(place) + tokens),
    );
    expect(two.columns).toEqual(feeds.columns);
  });
});

describe("full, in place", () => {
  test("T5: a step of size zero leaves weights within three units in the last place", { timeout: 60_000 }, async () => {
    const engine = await open(full(), "mezo", "rademacher");
    const before = await weightsOf(engine);
    await losses(engine, [[{ key: key(2), scale: 1e-3 }], [{ key: key(2), scale: -1e-3 }]]);
    await engine.update({
      update: { gradient: [{ key: key(2), scale: 1 }], curvature: [] },
      scalars: { learningRate: 0 },
      step: 0,
    });
    for (const [name, data] of await weightsOf(engine)) {
      const start = before.get(name)!;
      for (let i = 0; i < data.length; i++) {
        // Each of three additions rounds by half a unit of its result, which is at most the unit of |w| + 2ε.
        const unit = 2 ** (Math.floor(Math.log2(Math.abs(start[i]!) + 2e-3)) - 23);
        if (Math.abs(data[i]! - start[i]!) > 3 * unit)
          expect.fail(`${name}[${i}] moved from ${start[i]} to ${data[i]}`);
      }
    }
  });

  test("T10, T11: the tied embedding is one parameter; what is not trained does not move", async () => {
    expect(model.family.parameters.filter(({ shape }) => shape[0] === 2048)).toHaveLength(1);
    const one = model.family.parameters.filter(({ name }) => name.endsWith("layers.0.mlp.up_proj.weight"));
    const engine = await open(fullMethod(one));
    expect(await engine.held()).toEqual(one.map(({ name, shape }) => ({ name, shape })));
  });

  test("agrees with perturbed copies to rounding", { timeout: 60_000 }, async () => {
    const walked = await open(full());
    const copied = await open({ ...full(), placement: "copies" });
    const points = [
      [{ key: key(3), scale: 1e-3 }],
      [{ key: key(3), scale: -1e-3 }],
      [],
      [
        { key: key(4), scale: 1e-2 },
        { key: key(5), scale: 1e-3 },
      ],
    ];
    const [a, b] = [await losses(walked, points), await losses(copied, points)];
    for (const [i, loss] of a.entries()) expect(Math.abs(loss - b[i]!)).toBeLessThan(2e-5);
  });

  test("kernel threads do not change a bit", { timeout: 60_000 }, async () => {
    const states = await Promise.all(
      [1, 2].map(async (threads) => {
        const engine = await open(full(), "hizoo", "gaussian", threads);
        const moves = Array.from({ length: 3 }, (_, step) => [
          { visit: [[], [{ key: key(step), scale: 1e-3 }], [{ key: key(step), scale: -1e-3 }]] },
          {
            update: { gradient: [{ key: key(step), scale: 0.3 }], curvature: [{ key: key(step), scale: 20 }] },
            scalars: { learningRate: 1e-4, keep: 0.99, smoothing: 0.01, correction: 20 },
            step,
          },
        ]).flat();
        await engine.replay(moves);
        return weightsOf(engine);
      }),
    );
    for (const [name, data] of states[0]!) expect(bits(data)).toBe(bits(states[1]!.get(name)!));
  });
});

test("the projected gradient is the directional derivative, and its mean over directions the gradient", {
  timeout: 120_000,
}, async () => {
  // One small tensor, so that the mean over directions can be seen: B of one module.
  const module = "model.layers.5.self_attn.q_proj";
  const whole = loraMethod(
    loraModules({ peft_type: "LORA", r: 1, lora_alpha: 8, target_modules: [module] }, model.family.parameters),
  );
  const name = loraNames(module).b;
  const engine = await open({
    ...whole,
    tensors: whole.tensors.filter((tensor) => tensor.name === name),
    attach: whole.attach!,
  } as Method).catch(() => undefined);
  // A must exist too; when a lone B cannot be trained the whole pair is, and A's gradient is zero since B is.
  const oracle = engine ?? (await open(whole));
  const size = (await oracle.read({ name, start: 0, count: 2 ** 30 })).length;
  const start = new Float32Array(size);
  const lossAt = async (i: number, h: number): Promise<number> => {
    const moved = start.slice();
    moved[i]! += h;
    await oracle.write({ name, start: 0, data: moved });
    const [loss] = await losses(oracle, [[]]);
    return loss!;
  };
  const gradient = new Float64Array(size);
  for (let i = 0; i < size; i++) gradient[i] = ((await lossAt(i, 0.02)) - (await lossAt(i, -0.02))) / 0.04;
  await oracle.write({ name, start: 0, data: start });

  const draws = 300;
  const id = tensorId(name);
  const estimate = new Float64Array(size);
  let worst = 0;
  for (let step = 0; step < draws; step++) {
    const k = key(step);
    const [plus, minus] = await losses(oracle, [[{ key: k, scale: 2e-3 }], [{ key: k, scale: -2e-3 }]]);
    const projected = (plus! - minus!) / 4e-3;
    const z = new Float32Array(size);
    fillNoise("gaussian", tensorKey(k, id), 0, z);
    const derivative = z.reduce((sum, value, i) => sum + value * gradient[i]!, 0);
    worst = Math.max(worst, Math.abs(projected - derivative));
    z.forEach((value, i) => {
      estimate[i]! += (projected * value) / draws;
    });
  }
  const norm = Math.hypot(...gradient);
  expect(norm).toBeGreaterThan(0.01);
  // The loss's rounding (about 2e-7) over 2ε, and the finite differences' own error along z.
  expect(worst).toBeLessThan(0.05 * norm + 5e-4);
  // |mean − ∇| is about |∇|·√((d + 1)/n).
  const off = Math.hypot(...estimate.map((value, i) => value - gradient[i]!));
  expect(off / norm).toBeLessThan(1.3 * Math.sqrt((size + 1) / draws));
  const cosine = estimate.reduce((sum, value, i) => sum + value * gradient[i]!, 0) / norm / Math.hypot(...estimate);
  expect(cosine).toBeGreaterThan(0.65);
});

test("a walk moves each key by the difference of its scales, old keys first", () => {
  const [a, b] = [key(1), key(2)];
  const walk = (...points: Parameters<typeof walkBetween>) => walkBetween(...points).map(({ op }) => op);
  expect(walk([{ key: a, scale: 1e-3 }], [{ key: a, scale: -1e-3 }])).toEqual([
    { kind: "perturb", key: a, scale: -2 * Math.fround(1e-3) },
  ]);
  expect(walk([{ key: a, scale: 2 }], [{ key: b, scale: 3 }])).toEqual([
    { kind: "perturb", key: a, scale: -2 },
    { kind: "perturb", key: b, scale: 3 },
  ]);
  expect(walk([{ key: a, scale: 2 }], [{ key: a, scale: 2 }])).toEqual([]);
});

test("HiZOO without smoothing makes MeZO's update to the bit", { timeout: 60_000 }, async () => {
  const update = { gradient: [{ key: key(7), scale: 0.25 }], curvature: [{ key: key(7), scale: 11 }] };
  const tuned = await Promise.all(
    (
      [
        { optimizer: "mezo", options: {} },
        { optimizer: "hizoo", options: { smoothing: 0 } },
      ] as const
    ).map(async ({ optimizer, options }) => {
      const engine = await open(lora(), optimizer);
      const moment = { learningRate: 1e-3, step: 0, steps: 1, batchSize: 1, update };
      await engine.update({ update, scalars: optimizers[optimizer].configure(options).scalars(moment), step: 0 });
      const weights = await weightsOf(engine);
      return [...weights].filter(([name]) => !name.includes("#"));
    }),
  );
  for (const [i, [name, data]] of tuned[0]!.entries()) {
    expect(tuned[1]![i]![0]).toBe(name);
    expect(bits(data)).toBe(bits(tuned[1]![i]![1]));
  }
});
