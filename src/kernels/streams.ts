import type { Key } from "../random/key.js";
import { tensorKey } from "../random/key.js";
import type { Noise } from "./program.js";

/** The key of the mask that noise of `key` is under. */
const maskKey = ({ mask }: Noise, key: Key): Key | undefined =>
  mask === undefined
    ? undefined
    : { seed: key.seed, stream: "mask", step: key.step - (key.step % mask.interval), query: 0 };

/** What noise of some keys is drawn from, for a tensor. */
export interface Streams {
  readonly noise: readonly Uint32Array[];
  readonly mask: readonly (Uint32Array | undefined)[];
}

export const streamsOf = (noise: Noise, keys: readonly Key[], tensor: bigint): Streams => ({
  noise: keys.map((key) => tensorKey(key, tensor)),
  mask: keys.map((key) => {
    const masked = maskKey(noise, key);
    return masked === undefined ? undefined : tensorKey(masked, tensor);
  }),
});

/** Words below it are masked: `sparsity` of all, as exactly as 32 bits can. */
export const thresholdOf = (sparsity: number): number => Math.min(2 ** 32 - 1, Math.round(sparsity * 2 ** 32));
