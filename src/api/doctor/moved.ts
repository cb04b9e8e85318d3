import type { Engine } from "../../engine/engine.js";
import type { UpdateCall } from "../../engine/protocol.js";
import { encodings, type WritableEncoding, writers } from "../../model/encodings.js";
import { readTensorSync } from "../../model/weights.js";
import type { Method } from "../../peft/method.js";
import type { Batch } from "../../train/loop.js";
import { driving, type Stepper, takeStep } from "../../train/step.js";
import type { Model } from "../load.js";
import type { MovedReport, MovedWeights } from "../types.js";
import { lossesOf } from "./noise.js";

/** Elements looked at of a tensor, and tensors of the model that are merged. */
const SAMPLE = 2 ** 14;
const MERGED = 8;

const dtypes: Readonly<Record<keyof MovedWeights, WritableEncoding>> = {
  float32: "F32",
  bfloat16: "BF16",
  float16: "F16",
};

/** Through a narrower type and back. */
const narrowed = (data: Float32Array, encoding: WritableEncoding): Float32Array => {
  const out = new Float32Array(data.length);
  encodings[encoding].decode(writers[encoding](data), out);
  return out;
};

/** The fraction of weights that differ in a type. */
const fractionMoved = (
  before: readonly Float32Array[],
  after: readonly Float32Array[],
  encoding: WritableEncoding,
): number => {
  let moved = 0;
  let total = 0;
  before.forEach((values, i) => {
    const old = narrowed(values, encoding);
    const fresh = narrowed(after[i] ?? values, encoding);
    for (let j = 0; j < old.length; j++) if (old[j] !== fresh[j]) moved++;
    total += old.length;
  });
  return total === 0 ? 0 : moved / total;
};

interface Sample {
  /** Trained tensors as they are kept. */
  readonly kept: readonly Float32Array[];
  /** The weights as `merge` would write them. */
  readonly merged: readonly Float32Array[];
}

const evenly = <T>(values: readonly T[], count: number): readonly T[] =>
  values.filter((_, i) => i % Math.ceil(values.length / count) === 0);

const sampler = async (engine: Engine, model: Model, { merge }: Method): Promise<() => Promise<Sample>> => {
  const names = (await engine.held()).map(({ name }) => name).filter((name) => !name.includes("#"));
  // In blocks of few bits, nothing is merged into a weight.
  const whole =
    merge === undefined || typeof merge === "string"
      ? []
      : [...merge].filter(([name]) => model.files.weights.has(name));
  const merges = evenly(whole, MERGED);
  return async () => {
    const kept: Float32Array[] = [];
    for (const name of names) kept.push(await engine.read({ name, start: 0, count: SAMPLE }));
    const merged: Float32Array[] = [];
    for (const [name, { from, into }] of merges) {
      const source = model.files.weights.get(name);
      if (source === undefined) throw new Error(`no weights for ${name}`);
      const weight = readTensorSync(source);
      const parts: Float32Array[] = [];
      for (const part of from) parts.push(await engine.read({ name: part, start: 0, count: Number.MAX_SAFE_INTEGER }));
      into(weight, ...parts);
      merged.push(weight);
    }
    return { kept, merged: merges.length === 0 ? kept : merged };
  };
};

const compared = (before: Sample, after: Sample): MovedWeights => ({
  float32: fractionMoved(before.kept, after.kept, dtypes.float32),
  bfloat16: fractionMoved(before.merged, after.merged, dtypes.bfloat16),
  float16: fractionMoved(before.merged, after.merged, dtypes.float16),
});

export interface MovedOptions {
  readonly model: Model;
  readonly method: Method;
  readonly stepper: Stepper;
  readonly learningRate: number;
  readonly steps: number;
  readonly batch: Batch;
}

/**
 * Takes the run's first step and counts the weights that it moved; then one √steps times as large, which is about what independent
 * steps add up to. The engine is brought back, also when this fails.
 *
 * @returns null when the step is refused because a number of it is not finite
 */
export const movedWeights = async (engine: Engine, options: MovedOptions): Promise<MovedReport | null> => {
  const { model, method, stepper, learningRate, steps, batch } = options;
  const sample = await sampler(engine, model, method);
  try {
    const before = await sample();
    const made: UpdateCall[] = [];
    const driver = driving(engine, lossesOf(engine, batch));
    const { record } = await takeStep(stepper, 0, learningRate, {
      ...driver,
      async update(update, scalars, step) {
        made.push({ update, scalars, step });
        await driver.update(update, scalars, step);
      },
    });
    if (record.refused || made.length === 0) return null;
    const step = compared(before, await sample());
    await engine.rewind();
    for (const call of made) {
      const gradient = call.update.gradient.map((term) => ({ ...term, scale: term.scale * Math.sqrt(steps) }));
      await engine.update({ ...call, update: { ...call.update, gradient } });
    }
    return { step, run: compared(before, await sample()) };
  } finally {
    await engine.rewind();
  }
};
