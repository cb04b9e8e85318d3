import { ZerothError } from "../errors.js";
import { floatsOf } from "../kernels/arena.js";
import { elementsOf } from "../model/weights.js";
import { fullMethod } from "../peft/full.js";
import type { Method } from "../peft/method.js";
import { learningRateAt } from "../train/schedule.js";
import { lossOf, takeStep } from "../train/step.js";
import { resolveSettings, said } from "./settings.js";
import type { MinimizeOptions, MinimizeResult } from "./types.js";
import { variablesFor } from "./variables.js";

/** What a function's variables are called: their noise is drawn under this name. */
export const VARIABLES = "x";

const refuse = (message: string): never => {
  throw new ZerothError(message, { kind: "usage" });
};

/** @throws ZerothError (usage) for a start that is empty or not finite in fp32, or a shape that is not its own */
const variablesOf = (start: ArrayLike<number>, shape: readonly number[]): Float32Array => {
  const x = Float32Array.from(start);
  if (x.length === 0) refuse("The start has no elements: there is nothing to minimise over.");
  const bad = x.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) refuse(`The start's element ${bad} is ${start[bad]}: it must be finite in fp32.`);
  if (elementsOf(shape) !== x.length) refuse(`shape: [${shape}] does not have the ${x.length} elements of the start.`);
  return x;
};

/**
 * Minimises a function by any of the optimizers, with the estimators, rules and kernels that train models.
 *
 * @param fn its value at x, a view that is written to later; it may be noisy, or differ from step to step
 * @param start where to start from, [d] fp32; it is not changed
 * @returns the last x, how many times `fn` was called, and what was seen on the way
 * @throws ZerothError for options out of range, a start that is not finite, or a value that is not finite in fp32
 */
export const minimize = async (
  fn: (x: Float32Array, at: { readonly step: number; readonly rows: "batch" | "anchor" }) => number | Promise<number>,
  start: ArrayLike<number>,
  options: MinimizeOptions,
): Promise<MinimizeResult> => {
  const { optimizer, steps = 100, seed = 0, schedule, warmup, shape = [start.length], placement = "copies" } = options;
  const x = variablesOf(start, shape);
  const settings = resolveSettings(
    said({ data: "", method: { kind: "full" }, optimizer, steps, seed, schedule, warmup }),
    1,
  );
  const variable = { name: VARIABLES, shape, linear: true };
  const whole: Method = { ...fullMethod([variable]), placement };
  const { stepper, variables, trainables, driver } = variablesFor(settings, whole);
  const { cored, memory, pool } = variables;
  const live = memory.weights.get(VARIABLES);
  if (live === undefined) throw new Error("nothing is trained");
  floatsOf(live).set(x);
  memory.mark();

  let evaluations = 0;
  const valueAt = async (point: Parameters<typeof trainables.visit>[0], step: number, rows: "batch" | "anchor") => {
    const slab = trainables.at([point]).get(VARIABLES) ?? live;
    evaluations += 1;
    return fn(floatsOf(slab), { step, rows });
  };
  const rate = { kind: settings.schedule, learningRate: settings.learningRate, warmup: settings.warmup, steps };
  let memoryOf: unknown = stepper.estimator.initial;
  const losses: number[] = [];
  try {
    for (let step = 0; step < steps; step++) {
      const taken = await takeStep(
        stepper,
        step,
        learningRateAt(step, rate),
        driver(async (points, rows) => {
          const values: number[] = [];
          for (const point of points) values.push(await valueAt(point, step, rows));
          return values;
        }),
        memoryOf,
      );
      memoryOf = taken.memory;
      losses.push(lossOf(taken.record));
      if (taken.record.refused) {
        const bad = Array.from(taken.record.losses).find((value) => !Number.isFinite(Math.fround(value)));
        const what = bad === undefined ? "its update" : `a value of the function, ${bad},`;
        throw new ZerothError(
          `Step ${step + 1} was refused: ${what} is not finite in fp32.\nStart where the function is finite, or try a smaller learning rate or epsilon.`,
        );
      }
      if (options.onStep !== undefined) {
        trainables.settle();
        const slab = trainables.at([[]]).get(VARIABLES) ?? live;
        options.onStep({ step: step + 1, x: floatsOf(slab).slice(), loss: lossOf(taken.record), evaluations });
      }
    }
    trainables.settle();
    cored?.fold();
    return { x: floatsOf(live).slice(), evaluations, losses };
  } finally {
    await pool?.close();
  }
};
