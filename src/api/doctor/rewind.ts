import { type Engine, valuesOf } from "../../engine/engine.js";
import { readTensorSync } from "../../model/weights.js";
import type { Method } from "../../peft/method.js";
import type { Model } from "../load.js";

/** Elements that enter an engine at a time. */
const PIECE = 2 ** 20;
/** Pieces on their way while the next are read. */
const AT_ONCE = 8;

const filled = (length: number, value: number): Float32Array => new Float32Array(length).fill(value);

/**
 * What brings an engine back to the start of its run, bit for bit, optimizer states included. Call it while the engine is there.
 * Small sets (`copies`) are kept in memory; of a whole model (`in-place`) there is no second copy: its tensors are read from
 * the model's files again, one at a time.
 *
 * @param states the initial value of each optimizer state, by name
 */
export const rewinder = async (
  engine: Engine,
  model: Model,
  method: Method,
  states: Readonly<Record<string, number>>,
): Promise<() => Promise<void>> => {
  const held = await engine.held();
  if (method.placement === "copies") {
    const kept: { name: string; start: number; data: Float32Array }[] = [];
    for (const tensor of held) {
      let start = 0;
      for await (const data of valuesOf(engine, tensor)) {
        kept.push({ name: tensor.name, start, data });
        start += data.length;
      }
    }
    return async () => {
      for (const slice of kept) await engine.write(slice);
    };
  }
  const initial = (name: string, size: number): Float32Array => {
    const [tensor = name, state] = name.split("#");
    if (state !== undefined) return filled(size, states[state] ?? 0);
    const source = model.files.weights.get(tensor);
    if (source === undefined) throw new Error(`no weights for ${tensor}`);
    return readTensorSync(source);
  };
  return async () => {
    let writes: Promise<void>[] = [];
    for (const { name, shape } of held) {
      const values = initial(
        name,
        shape.reduce((product, dim) => product * dim, 1),
      );
      for (let start = 0; start < values.length; start += PIECE) {
        writes.push(engine.write({ name, start, data: values.slice(start, start + PIECE) }));
        if (writes.length < AT_ONCE) continue;
        await Promise.all(writes);
        writes = [];
      }
    }
    await Promise.all(writes);
  };
};
