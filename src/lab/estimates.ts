import { minimize } from "../api/minimize.js";
import type { OptimizerChoice } from "../api/types.js";
import type { Known } from "./functions.js";
import { lossNoise } from "./normal.js";

export interface EstimateOptions {
  /** Plain SGD's are what is meant: the learning rate is left at 1. */
  readonly optimizer: Omit<OptimizerChoice, "learningRate">;
  readonly seed: number;
  readonly count: number;
  /** Standard deviation of the Gaussian noise on every value. Default 0. */
  readonly noise?: number;
  /** What a value is rounded to. Default: not at all. */
  readonly round?: (value: number) => number;
}

/**
 * Gradient estimates at the start of a function, as an optimizer makes them of it, [count] of [d] each. The function moves along with the variables:
 * a step θ ← θ − g is taken, and the next one sees the start again.
 */
export const estimates = async (
  { value, start, shape }: Pick<Known, "value" | "start" | "shape">,
  { optimizer, seed, count, noise = 0, round = (value) => value }: EstimateOptions,
): Promise<readonly Float32Array[]> => {
  const noiseAt = lossNoise(seed);
  const made: Float32Array[] = [];
  let here = start;
  let looked = 0;
  const x = new Float32Array(start.length);
  await minimize(
    (moved) => {
      for (let i = 0; i < x.length; i++) x[i] = (start[i] ?? 0) + ((moved[i] ?? 0) - (here[i] ?? 0));
      looked += 1;
      return round(value(x) + (noise === 0 ? 0 : noise * noiseAt(looked)));
    },
    start,
    {
      ...{ seed, shape, steps: count },
      optimizer: { ...optimizer, learningRate: 1 },
      onStep({ x: there }) {
        made.push(here.map((value, i) => value - (there[i] ?? 0)));
        here = there;
      },
    },
  );
  return made;
};
