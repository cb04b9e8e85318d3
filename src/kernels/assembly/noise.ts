/*
 * Noise in SIMD, bit for bit what random/noise.ts defines and explains. Everything works in the imported memory, on byte
 * addresses; nothing is allocated. The first page is this module's own.
 *
 * Constants are read from memory: V8 rebuilds a vector constant, three instructions, wherever it is used, and a load is one.
 * Loops are short, and the longest chains of operations stand side by side, so that the processor can overlap them.
 */

// @ts-ignore: decorator
@inline const ROUNDS: u32 = 7;
/** A vector of keys for each round of Philox. */
const keys: usize = memory.data(112, 16);

/** −2·ln(1 − t/2)/t, cos(πy/2)/(1 − y²) and sin(πy/2)/y: coefficients, lowest first. */
const LOGARITHM: usize = memory.data<f32>([1.00000109, 0.249898235, 0.0848623704, 0.0227983162, 0.0340432785, -0.0212695155, 0.0159605848]);
const COSINE: usize = memory.data<f32>([0.999999936, -0.233697634, 0.0199495074, -0.000854853964]);
const SINE: usize = memory.data<f32>([1.57079164, -0.645896877, 0.0794414956, -0.00433688817]);
/** 1, 2, 2 ln 2 / 2²³, 2⁻³¹ */
const FLOATS: usize = memory.data<f32>([1, 2, 1.6525916635146132e-7, 4.656612873077393e-10]);
/** 1; of an fp32 number: mantissa, exponent of 1, exponent of 2³⁰, exponent, sign */
const INTEGERS: usize = memory.data<u32>([1, 0x007fffff, 0x3f800000, 0x4e800000, 0x7f800000, 0x80000000]);

/** The number at `table[index]` in every lane. */
// @ts-ignore: decorator
@inline function entry(table: usize, index: usize): v128 {
  return v128.load32_splat(table + (index << 2));
}

/** (low, low, high, high) */
// @ts-ignore: decorator
@inline function pairs(low: u32, high: u32): v128 {
  return i64x2.shuffle(i32x4.splat(low), i32x4.splat(high), 0, 2);
}

/** The lower halves of four 64-bit products. */
// @ts-ignore: decorator
@inline function lower(a: v128, b: v128): v128 {
  return i32x4.shuffle(a, b, 0, 2, 4, 6);
}

/** The upper halves of four 64-bit products, with words and keys folded in. */
// @ts-ignore: decorator
@inline function upper(a: v128, b: v128, words: v128, key: v128): v128 {
  return v128.xor(v128.xor(i32x4.shuffle(a, b, 1, 3, 5, 7), words), key);
}

/**
 * Philox4x32-7 on blocks from (blockHigh, blockLow) on, whose lower word may not wrap; `blocks` is a multiple of 8. A group of two
 * blocks is two vectors: words 0 of both, words 2 of both; words 1 of both, words 3 of both.
 */
function fillBits(k0: u32, k1: u32, c2: u32, c3: u32, blockLow: u32, blockHigh: u32, blocks: i32, out: usize): void {
  for (let round: u32 = 0; round < ROUNDS; round++) {
    v128.store(keys + (<usize>round << 4), pairs(k0 + round * 0x9e3779b9, k1 + round * 0xbb67ae85));
  }
  const multipliers = pairs(0xd2511f53, 0xcd9e8d57);
  const next = pairs(2, 0);
  const odd = pairs(blockHigh, c3);
  let even = i32x4.add(pairs(blockLow, c2), i32x4(0, 1, 0, 0));
  for (let at = out, end = out + (<usize>blocks << 4); at < end; at += 128) {
    let a0 = even, b0 = odd;
    let a1 = even = i32x4.add(even, next), b1 = odd;
    let a2 = even = i32x4.add(even, next), b2 = odd;
    let a3 = even = i32x4.add(even, next), b3 = odd;
    even = i32x4.add(even, next);
    for (let round: u32 = 0; round < ROUNDS; round++) {
      const key = v128.load(keys + (<usize>round << 4));
      let first = i64x2.extmul_low_i32x4_u(a0, multipliers);
      let second = i64x2.extmul_high_i32x4_u(a0, multipliers);
      a0 = upper(second, first, b0, key);
      b0 = lower(second, first);
      first = i64x2.extmul_low_i32x4_u(a1, multipliers);
      second = i64x2.extmul_high_i32x4_u(a1, multipliers);
      a1 = upper(second, first, b1, key);
      b1 = lower(second, first);
      first = i64x2.extmul_low_i32x4_u(a2, multipliers);
      second = i64x2.extmul_high_i32x4_u(a2, multipliers);
      a2 = upper(second, first, b2, key);
      b2 = lower(second, first);
      first = i64x2.extmul_low_i32x4_u(a3, multipliers);
      second = i64x2.extmul_high_i32x4_u(a3, multipliers);
      a3 = upper(second, first, b3, key);
      b3 = lower(second, first);
    }
    v128.store(at, a0);
    v128.store(at, b0, 16);
    v128.store(at, a1, 32);
    v128.store(at, b1, 48);
    v128.store(at, a2, 64);
    v128.store(at, b2, 80);
    v128.store(at, a3, 96);
    v128.store(at, b3, 112);
  }
}

/** sum·x + c */
// @ts-ignore: decorator
@inline function step(sum: v128, x: v128, c: v128): v128 {
  return f32x4.add(f32x4.mul(sum, x), c);
}

/** Even vectors from `at` to `end`: words to Box–Muller's radii, with the words' signs. */
// @ts-ignore: decorator
@inline function toRadii(out: usize, end: usize): void {
  const l0 = entry(LOGARITHM, 0), l1 = entry(LOGARITHM, 1), l2 = entry(LOGARITHM, 2), l3 = entry(LOGARITHM, 3);
  const l4 = entry(LOGARITHM, 4), l5 = entry(LOGARITHM, 5), l6 = entry(LOGARITHM, 6);
  const two = entry(FLOATS, 1), logTwo = entry(FLOATS, 2);
  const bit = entry(INTEGERS, 0), mantissa = entry(INTEGERS, 1), unit = entry(INTEGERS, 2);
  const limit = entry(INTEGERS, 3), exponent = entry(INTEGERS, 4), sign = entry(INTEGERS, 5);
  for (let at = out; at < end; at += 32) {
    const x = f32x4.convert_i32x4_s(v128.or(v128.load(at), bit));
    const t = f32x4.sub(two, v128.or(v128.and(x, mantissa), unit));
    const t2 = f32x4.mul(t, t);
    const top = step(l6, t2, step(l5, t, l4));
    const ln = step(step(top, t2, step(l3, t, l2)), t2, step(l1, t, l0));
    const whole = f32x4.mul(f32x4.convert_i32x4_s(i32x4.sub(limit, v128.and(x, exponent))), logTwo);
    v128.store(at, v128.or(f32x4.sqrt(f32x4.add(whole, f32x4.mul(t, ln))), v128.and(x, sign)));
  }
}

/** Even vectors of radii and odd ones of words to normals. */
// @ts-ignore: decorator
@inline function turn(out: usize, end: usize): void {
  const c0 = entry(COSINE, 0), c1 = entry(COSINE, 1), c2 = entry(COSINE, 2), c3 = entry(COSINE, 3);
  const s0 = entry(SINE, 0), s1 = entry(SINE, 1), s2 = entry(SINE, 2), s3 = entry(SINE, 3);
  const one = entry(FLOATS, 0), unit = entry(FLOATS, 3);
  for (let at = out; at < end; at += 32) {
    const radius = v128.load(at);
    const y = f32x4.mul(f32x4.convert_i32x4_s(v128.load(at, 16)), unit);
    const q = f32x4.mul(y, y);
    const cosine = f32x4.mul(f32x4.sub(one, q), step(step(step(c3, q, c2), q, c1), q, c0));
    const sine = f32x4.mul(y, step(step(step(s3, q, s2), q, s1), q, s0));
    v128.store(at, f32x4.mul(radius, cosine));
    v128.store(at, f32x4.mul(radius, sine), 16);
  }
}

/** `n` elements (a multiple of 32) of Gaussian noise to `out`, from block (blockHigh, blockLow), an even one, on. */
export function gaussian(k0: u32, k1: u32, c2: u32, c3: u32, blockLow: u32, blockHigh: u32, n: i32, out: usize): void {
  fillBits(k0, k1, c2, c3, blockLow, blockHigh, n >> 2, out);
  const end = out + (<usize>n << 2);
  toRadii(out, end);
  turn(out, end);
}

/** The sign bit of each lane, on 1. */
// @ts-ignore: decorator
@inline function signOf(words: v128): v128 {
  return v128.or(v128.and(words, i32x4.splat(0x80000000)), f32x4.splat(1));
}

/** `n` elements (a multiple of 1024) of random signs to `out`, from block (blockHigh, blockLow), an even one, on. */
export function rademacher(k0: u32, k1: u32, c2: u32, c3: u32, blockLow: u32, blockHigh: u32, n: i32, out: usize): void {
  // The words lie at the end of the room, where signs reach them after they are read.
  const end = out + (<usize>n << 2);
  let from = end - (<usize>n >> 3);
  fillBits(k0, k1, c2, c3, blockLow, blockHigh, n >> 7, from);
  for (let at = out; at < end; from += 16) {
    let words = v128.load(from);
    for (const stop = at + 512; at < stop; at += 64) {
      v128.store(at, signOf(words));
      v128.store(at, signOf(i32x4.shl(words, 1)), 16);
      v128.store(at, signOf(i32x4.shl(words, 2)), 32);
      v128.store(at, signOf(i32x4.shl(words, 3)), 48);
      words = i32x4.shl(words, 4);
    }
  }
}
