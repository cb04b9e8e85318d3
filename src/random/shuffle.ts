import { type Key, tensorId, tensorKey } from "./key.js";
import { philox4x32 } from "./philox.js";

/** The words of a stream one after another. */
function* wordsOf([k0 = 0, k1 = 0, c2 = 0, c3 = 0]: Uint32Array): Generator<number, never> {
  for (let block = 0; ; block++) yield* philox4x32([block, 0, c2, c3], [k0, k1]);
}

/** Uniform in [0, bound), unbiased: a product's lower word below 2³² mod bound would be one draw too many (Lemire 2019). */
const below = (bound: number, words: Iterator<number, never>): number => {
  const surplus = 2 ** 32 % bound;
  for (;;) {
    const product = BigInt(words.next().value) * BigInt(bound);
    if (Number(product & 0xffff_ffffn) >= surplus) return Number(product >> 32n);
  }
};

/** A uniformly random permutation of 0 … count − 1 (Fisher–Yates), a function of the key alone. */
export const permutation = (count: number, key: Key): Uint32Array => {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  const words = wordsOf(tensorKey(key, tensorId("permutation")));
  for (let last = count - 1; last > 0; last--) {
    const chosen = below(last + 1, words);
    [order[last], order[chosen]] = [order[chosen] ?? 0, order[last] ?? 0];
  }
  return order;
};
