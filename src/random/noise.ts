import { type Block, philox4x32 } from "./philox.js";

/** The distribution that fills a tensor of noise z: both have mean 0 and covariance I. */
export type Distribution = "gaussian" | "rademacher";

/*
 * Any element alone, in any order: this is the definition that the SIMD kernels in kernels/assembly/noise.ts repeat, operation
 * by operation in fp32. Elements are laid out so that four neighbours come from the same word of four neighbouring blocks and
 * SIMD needs no transpose.
 */

const TWO_32 = 2 ** 32;

/** Block `index` (below 2⁵³) of a tensor's stream; see `tensorKey`. */
const blockAt = ([k0 = 0, k1 = 0, c2 = 0, c3 = 0]: Uint32Array, index: number): Block =>
  philox4x32([index % TWO_32, Math.floor(index / TWO_32), c2, c3], [k0, k1]);

const { fround } = Math;
const float = new Float32Array(1);
const bits = new Int32Array(float.buffer);

/** c[0] + c[1]·x + c[2]·x² + … by Horner's rule, rounded to fp32 at each operation. */
const polynomial = (coefficients: readonly number[], x: number): number =>
  coefficients.reduceRight((sum, coefficient) => fround(fround(sum * x) + fround(coefficient)));

/*
 * Minimax fits over the unit interval, coefficients rounded to fp32. −2·ln(1 − t/2) / t to 1.1e-6 of its value
 * and exact at t = 1, so that u = 1 has radius 0; sin(πy/2) / y with y² = q to 6.6e-7; cos(πy/2) / (1 − q) to 6.7e-8.
 */
const logarithm = [1.00000109, 0.249898235, 0.0848623704, 0.0227983162, 0.0340432785, -0.0212695155, 0.0159605848].map(
  fround,
);
const sine = [1.57079164, -0.645896877, 0.0794414956, -0.00433688817].map(fround);
const cosine = [0.999999936, -0.233697634, 0.0199495074, -0.000854853964].map(fround);
const TWO_LN_2 = fround(2 * Math.LN2);

/**
 * Box–Muller: two words to two independent standard normals. The first word's magnitude, made odd, is the midpoint
 * u = |w|/2³¹ of one of 2³⁰ equal intervals and gives the radius √(−2 ln u) ≤ 6.56; its sign is the sign of the cosine. The
 * second word is the angle, in half turns from −1/2 to 1/2.
 */
const boxMuller = (first: number, second: number): readonly [number, number] => {
  float[0] = first | 1 | 0;
  const pattern = bits[0] ?? 0;
  // |w| = m·2ᵉ with m in [1, 2): −2 ln u = (30 − e)·2 ln 2 − 2 ln(m/2), free of cancellation as u nears 1.
  const exponent = (pattern << 1) >>> 24;
  bits[0] = (pattern & 0x007f_ffff) | 0x3f80_0000;
  const t = fround(2 - (float[0] ?? 0));
  const radius = fround(Math.sqrt(fround(fround((157 - exponent) * TWO_LN_2) + fround(t * polynomial(logarithm, t)))));
  const y = fround(fround(second | 0) * fround(2 ** -31));
  const q = fround(y * y);
  const across = fround(radius * fround(fround(1 - q) * polynomial(cosine, q)));
  const along = fround(radius * fround(y * polynomial(sine, q)));
  return [pattern < 0 ? -across : across, along];
};

/**
 * Element `index` (below 2⁵³) of standard normal noise; |z| ≤ 6.56.
 * Sixteen elements are four blocks: element 16g + 4k + j is word k of block 4g + j, words in pairs by Box–Muller.
 */
export const gaussianAt = (key: Uint32Array, index: number): number => {
  const within = index % 16;
  const [w0, w1, w2, w3] = blockAt(key, Math.floor(index / 16) * 4 + (within & 3));
  const pair = within < 8 ? boxMuller(w0, w1) : boxMuller(w2, w3);
  return pair[((within >> 2) & 1) as 0 | 1];
};

/**
 * Element `index` (below 2⁵³) of uniform signs ±1.
 * 512 elements are four blocks: element 512g + 128k + 4b + j is bit 31 − b of word k of block 4g + j; a set bit is −1.
 */
export const rademacherAt = (key: Uint32Array, index: number): number => {
  const within = index % 512;
  const word = blockAt(key, Math.floor(index / 512) * 4 + (within & 3))[(within >> 7) as 0 | 1 | 2 | 3];
  return word << ((within >> 2) & 31) < 0 ? -1 : 1;
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
