import { type Key, tensorId, tensorKey } from "../random/key.js";
import { fillNoise, gaussianAt } from "../random/noise.js";

/** `length` standard normal numbers of a name. */
export const normals = (seed: number, name: string, length: number): Float32Array => {
  const key: Key = { seed: BigInt(seed), stream: "init", step: 0, query: 0 };
  const out = new Float32Array(length);
  fillNoise("gaussian", tensorKey(key, tensorId(name)), 0, out);
  return out;
};

/** Standard normal numbers that no optimizer draws: what is added to the values of a noisy function, one each. */
export const lossNoise = (seed: number): ((index: number) => number) => {
  const key: Key = { seed: BigInt(seed), stream: "noise", step: 0, query: 0 };
  const stream = tensorKey(key, tensorId("noise of the loss"));
  return (index) => gaussianAt(stream, index);
};
