import { type Key, tensorId, tensorKey } from "../random/key.js";
import { gaussianAt } from "../random/noise.js";

/** Standard normal numbers that no optimizer draws: what is added to the values of a noisy function, one each. */
export const noiseOf = (seed: number): ((index: number) => number) => {
  const key: Key = { seed: BigInt(seed), stream: "noise", step: 0, query: 0 };
  const stream = tensorKey(key, tensorId("noise of the loss"));
  return (index) => gaussianAt(stream, index);
};
