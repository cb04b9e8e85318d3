import { type Block, philox4x32 } from "./philox.js";

/** The distribution that fills a tensor of noise z: both have mean 0 and covariance I. */
export type Distribution = "gaussian" | "rademacher";

/*
 * Any element alone, in any order: this is the definition that the SIMD kernels in kernels/assembly/noise.ts repeat, operation
 * by operation in fp32. Elements lie as those kernels make them, with no transpose: four blocks are four vectors, each of one word
 * of every block.
 */

const TWO_32 = 2 ** 32;

/** Block `index` (below 2⁵³) of a tensor's stream; see `tensorKey`. */
const blockAt = ([k0 = 0, k1 = 0, c2 = 0, c3 = 0]: Uint32Array, index: number): Block =>
  philox4x32([index % TWO_32, Math.floor(index / TWO_32), c2, c3], [k0, k1]);

/** Lane `lane` (0 … 3) of vector `vector`, signed. */
const wordAt = (key: Uint32Array, vector: number, lane: number): number =>
  (blockAt(key, 4 * Math.floor(vector / 4) + lane)[vector % 4] ?? 0) | 0;

const { fround } = Math;
const float = new Float32Array(1);
const bits = new Int32Array(float.buffer);

/** sum·x + c, rounded to fp32 twice. */
const step = (sum: number, x: number, c: number): number => fround(fround(sum * x) + c);

/** 2³²/φ. Multiples of it modulo 2³² spread evenly, however few. */
const GOLDEN = 0x9e3779b9;
/** fp32's 2³¹, as an integer. */
const TOP = 0x4f00_0000;

/*
 * Minimax fits, lowest coefficient first. In radii's unit and the angles', both of cos(πy/2) (to 7e-6) and sin(πy/2)/y (to 6e-7)
 * end in −1, which saves two multiplications: both are cubics (c2 − q)·q² + c1·q + c0 in the square q of the angle.
 */
const [c0 = 0, c1 = 0, c2 = 0] = Float32Array.of(0.00714877807, -0.171255574, 0.681062043);
const [s0 = 0, s1 = 0, s2 = 0] = Float32Array.of(0.0494870171, -0.395193368, 0.943916917);
const ANGLE = fround(1.05665199e-10);
/** (2 ln 2)/2²³ in squared radii, and what is missing in `squareRadius` from there, divided by t; radii are right to 1.4e-5. */
const LINE = fround(0.00323367305);
const [l0 = 0, l1 = 0, l2 = 0, l3 = 0, l4 = 0] = Float32Array.of(
  -0.000900382351,
  6.79951859e-11,
  3.68292903e-18,
  -9.27722858e-26,
  2.53487951e-32,
);

/**
 * −2 ln u with u = |word|/2³¹. Read as an integer, an fp32 number is its own logarithm on a line between powers of 2; the curve
 * above the line depends on the mantissa. No step cancels as u nears 1. The word 0 counts as ±2.
 */
const squareRadius = (word: number): number => {
  float[0] = word;
  const below = TOP - (bits[0] ?? 0);
  const t = below & 0x007f_ffff;
  // Pairs of coefficients first, since a shorter chain of operations is faster.
  const square = fround(t * t);
  const curve = step(step(l4, square, step(l3, t, l2)), square, step(l1, t, l0));
  return fround(fround(fround(below & 0x0fff_ffff) * LINE) + fround(t * curve));
};

const cubic = (top: number, b1: number, b0: number, q: number): number => step(step(fround(top - q), q, b1), q, b0);

/**
 * Box–Muller: a word to two independent standard normals. It is the radius, and its product with 2³²/φ an angle between −1/2
 * and 1/2 of half a turn; its sign adds the other half of the circle. The 2³² pairs (u, angle) are a Fibonacci lattice, which
 * fills the square more evenly than as many random points. Over all of them: means below 4e-9, variances 1 + 2e-7, moments up to
 * the eighth within 1.2e-5 of the normal's, correlation 0, those of squares 5e-7, distribution functions within 2e-6,
 * tails beyond 3, 4, 4.5 and 5 within 0.002 %, 0.02 %, 0.02 % and 0.3 %.
 */
const boxMuller = (word: number): readonly [number, number] => {
  const root = fround(Math.sqrt(squareRadius(word)));
  const radius = word < 0 ? -root : root;
  const y = fround(fround(Math.imul(word, GOLDEN)) * ANGLE);
  const q = fround(y * y);
  return [fround(radius * cubic(c2, c1, c0, q)), fround(fround(radius * y) * cubic(s2, s1, s0, q))];
};

/** Element `index` (below 2⁵³) of standard normal noise; |z| < 6.45. A vector is four cosines, then four sines. */
export const gaussianAt = (key: Uint32Array, index: number): number => {
  const place = index % 8;
  const [cosine, sine] = boxMuller(wordAt(key, (index - place) / 8, place & 3));
  return place < 4 ? cosine : sine;
};

/** Element `index` (below 2⁵³) of uniform signs ±1. A vector is the highest bits of four words, then the next; a set bit is −1. */
export const rademacherAt = (key: Uint32Array, index: number): number => {
  const place = index % 128;
  return wordAt(key, (index - place) / 128, place & 3) << (place >> 2) < 0 ? -1 : 1;
};

/** Whether element `index` (below 2⁵³) is under a mask: its word, one an element, is below `threshold`. */
export const maskedAt = (key: Uint32Array, index: number, threshold: number): boolean =>
  wordAt(key, Math.floor(index / 4), index % 4) >>> 0 < threshold;

const uniform = (high: number, low: number): number => ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53;

/** Element `index` (below 2⁵³) of numbers uniform in [0, 1), 53 bits each. */
export const uniformAt = (key: Uint32Array, index: number): number => {
  const [a, b, c, d] = blockAt(key, Math.floor(index / 2));
  return index % 2 === 0 ? uniform(a, b) : uniform(c, d);
};

/** Writes the first elements of a tensor's uniform numbers, made anything of, into `out`: two for each draw. */
export const fillUniform = (key: Uint32Array, out: Float32Array, of: (value: number) => number): void => {
  for (let i = 0; i < out.length; i += 2) {
    const [a, b, c, d] = blockAt(key, i / 2);
    out[i] = of(uniform(a, b));
    if (i + 1 < out.length) out[i + 1] = of(uniform(c, d));
  }
};

const elementAt = { gaussian: gaussianAt, rademacher: rademacherAt };

/** Writes elements `start` … of a tensor's noise into `out`. */
export const fillNoise = (distribution: Distribution, key: Uint32Array, start: number, out: Float32Array): void => {
  const at = elementAt[distribution];
  for (let i = 0; i < out.length; i++) out[i] = at(key, start + i);
};
