import { type Block, philox4x32 } from "./philox.js";

/** The distribution that fills a tensor of noise z: both have mean 0 and covariance I. */
export type Distribution = "gaussian" | "rademacher";

/*
 * Any element alone, in any order: this is the definition that the SIMD kernels in kernels/assembly/noise.ts repeat, operation
 * by operation in fp32. Elements lie as those kernels make them, with no transpose: the words of blocks 2g and 2g + 1 are taken
 * in the order word 0 of both, word 2 of both, word 1 of both, word 3 of both.
 */

const TWO_32 = 2 ** 32;

/** Block `index` (below 2⁵³) of a tensor's stream; see `tensorKey`. */
const blockAt = ([k0 = 0, k1 = 0, c2 = 0, c3 = 0]: Uint32Array, index: number): Block =>
  philox4x32([index % TWO_32, Math.floor(index / TWO_32), c2, c3], [k0, k1]);

/** Of lane `lane` (0 … 3) of blocks 2·`group` and 2·`group` + 1: an even word and the odd one after it. */
const wordsAt = (key: Uint32Array, group: number, lane: number): readonly [even: number, odd: number] => {
  const [w0, w1, w2, w3] = blockAt(key, 2 * group + (lane & 1));
  return lane < 2 ? [w0, w1] : [w2, w3];
};

const { fround } = Math;
const float = new Float32Array(1);
const bits = new Int32Array(float.buffer);

/** sum·x + c, rounded to fp32 twice. */
const step = (sum: number, x: number, c: number): number => fround(fround(sum * x) + c);

/*
 * Minimax fits on [0, 1], lowest coefficient first: −2·ln(1 − t/2)/t to 1.3e-6 of its value and exact at t = 1, so that u = 1 has
 * radius 0; cos(πy/2)/(1 − q) and sin(πy/2)/y, q = y², to 1e-6.
 */
const [l0 = 0, l1 = 0, l2 = 0, l3 = 0, l4 = 0, l5 = 0, l6 = 0] = Float32Array.of(
  1.00000109,
  0.249898235,
  0.0848623704,
  0.0227983162,
  0.0340432785,
  -0.0212695155,
  0.0159605848,
);
const [c0 = 0, c1 = 0, c2 = 0, c3 = 0] = Float32Array.of(0.999999936, -0.233697634, 0.0199495074, -0.000854853964);
const [s0 = 0, s1 = 0, s2 = 0, s3 = 0] = Float32Array.of(1.57079164, -0.645896877, 0.0794414956, -0.00433688817);
const TWO_LN_2 = fround(2 * Math.LN2);

/**
 * The radius √(−2 ln u), at most 6.56, with the sign of `word`. u = |w|/2³¹ with the word made odd: the midpoint of one of 2³⁰
 * equal intervals.
 */
const signedRadius = (word: number): number => {
  float[0] = word | 1;
  const pattern = bits[0] ?? 0;
  // |w| = m·2ᵉ with m in [1, 2): −2 ln u = (30 − e)·2 ln 2 − 2 ln(m/2), which does not cancel as u nears 1.
  const exponent = ((pattern >>> 23) & 0xff) - 127;
  bits[0] = (pattern & 0x007f_ffff) | 0x3f80_0000;
  const t = fround(2 - (float[0] ?? 0));
  // Pairs of coefficients first, since a shorter chain of operations is faster.
  const square = fround(t * t);
  const top = step(l6, square, step(l5, t, l4));
  const ln = step(step(top, square, step(l3, t, l2)), square, step(l1, t, l0));
  const radius = fround(Math.sqrt(fround(fround((30 - exponent) * TWO_LN_2) + fround(t * ln))));
  return pattern < 0 ? -radius : radius;
};

/**
 * Box–Muller: two words to two independent standard normals. The second word is an angle in half turns from −1/2 to 1/2; the
 * first one's sign adds the other half of the circle.
 */
const boxMuller = (first: number, second: number): readonly [number, number] => {
  const radius = signedRadius(first);
  const y = fround(fround(second | 0) * 2 ** -31);
  const q = fround(y * y);
  const cosine = fround(fround(1 - q) * step(step(step(c3, q, c2), q, c1), q, c0));
  const sine = fround(y * step(step(step(s3, q, s2), q, s1), q, s0));
  return [fround(radius * cosine), fround(radius * sine)];
};

/** Element `index` (below 2⁵³) of standard normal noise; |z| ≤ 6.56. Eight elements are two blocks, four cosines then four sines. */
export const gaussianAt = (key: Uint32Array, index: number): number => {
  const place = index % 8;
  const [even, odd] = wordsAt(key, Math.floor(index / 8), place & 3);
  const [cosine, sine] = boxMuller(even, odd);
  return place < 4 ? cosine : sine;
};

/**
 * Element `index` (below 2⁵³) of uniform signs ±1. 256 elements are two blocks, the even words' bits then the odd ones', the
 * highest bits of four words first; a set bit is −1.
 */
export const rademacherAt = (key: Uint32Array, index: number): number => {
  const place = index % 256;
  const [even, odd] = wordsAt(key, Math.floor(index / 256), place & 3);
  return (place < 128 ? even : odd) << ((place >> 2) & 31) < 0 ? -1 : 1;
};

/** Element `index` (below 2⁵³) of numbers uniform in [0, 1), 53 bits each. */
export const uniformAt = (key: Uint32Array, index: number): number => {
  const block = blockAt(key, Math.floor(index / 2));
  const [high, low] = index % 2 === 0 ? [block[0], block[1]] : [block[2], block[3]];
  return ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53;
};

const elementAt = { gaussian: gaussianAt, rademacher: rademacherAt };

/** Writes elements `start` … of a tensor's noise into `out`. */
export const fillNoise = (distribution: Distribution, key: Uint32Array, start: number, out: Float32Array): void => {
  const at = elementAt[distribution];
  for (let i = 0; i < out.length; i++) out[i] = at(key, start + i);
};
