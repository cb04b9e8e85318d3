/*
 * Noise in SIMD, bit for bit what random/noise.ts defines. Four lanes are the same word of four neighbouring blocks.
 * Everything works in the imported memory, on byte addresses; nothing is allocated.
 */

// @ts-ignore: decorator
@inline const MULTIPLIER_0: u32 = 0xd2511f53;
// @ts-ignore: decorator
@inline const MULTIPLIER_1: u32 = 0xcd9e8d57;
// @ts-ignore: decorator
@inline const WEYL_0: u32 = 0x9e3779b9;
// @ts-ignore: decorator
@inline const WEYL_1: u32 = 0xbb67ae85;

// @ts-ignore: decorator
@inline function low(even: v128, odd: v128): v128 {
  return i32x4.shuffle(even, odd, 0, 2, 4, 6);
}

// @ts-ignore: decorator
@inline function high(even: v128, odd: v128): v128 {
  return i32x4.shuffle(even, odd, 1, 3, 5, 7);
}

// @ts-ignore: decorator
@inline function xor(a: v128, b: v128, c: v128): v128 {
  return v128.xor(v128.xor(a, b), c);
}

/**
 * Philox4x32-7 on `groups` × 4 blocks from block (blockHigh, blockLow); a group's 64 bytes are word 0 of its four blocks,
 * then words 1, 2 and 3. The lower counter word may not wrap within a call.
 */
// @ts-ignore: decorator
@inline function bits(k0: u32, k1: u32, c2: u32, c3: u32, blockLow: u32, blockHigh: u32, groups: i32, out: usize): void {
  const m0 = i32x4.splat(MULTIPLIER_0);
  const m1 = i32x4.splat(MULTIPLIER_1);
  // What the first two rounds make of the counter words that all blocks share.
  const shared1 = u64(MULTIPLIER_1) * u64(c2);
  const first0 = u32(shared1 >> 32) ^ blockHigh ^ k0;
  const shared0 = u64(MULTIPLIER_0) * u64(first0);
  const first1 = u32(shared1);
  const second2 = u32(shared0 >> 32) ^ (k1 + WEYL_1);
  const second3 = i32x4.splat(u32(shared0));
  const key1 = i32x4.splat(c3 ^ k1);
  const key2 = i32x4.splat(first1 ^ (k0 + WEYL_0));
  const key3 = i32x4.splat(second2);
  let counter = i32x4.add(i32x4.splat(blockLow), i32x4(0, 1, 2, 3));
  const end = out + (<usize>groups << 6);
  for (let at = out; at < end; at += 64) {
    // Round 1: only word 0 differs from block to block.
    let even = i64x2.extmul_low_i32x4_u(counter, m0);
    let odd = i64x2.extmul_high_i32x4_u(counter, m0);
    let c2v = v128.xor(high(even, odd), key1);
    let c3v = low(even, odd);
    // Round 2: word 0 is shared.
    even = i64x2.extmul_low_i32x4_u(c2v, m1);
    odd = i64x2.extmul_high_i32x4_u(c2v, m1);
    let c0v = v128.xor(high(even, odd), key2);
    let c1v = low(even, odd);
    c2v = v128.xor(c3v, key3);
    c3v = second3;
    for (let round: u32 = 2; round < 7; round++) {
      even = i64x2.extmul_low_i32x4_u(c0v, m0);
      odd = i64x2.extmul_high_i32x4_u(c0v, m0);
      const even1 = i64x2.extmul_low_i32x4_u(c2v, m1);
      const odd1 = i64x2.extmul_high_i32x4_u(c2v, m1);
      c2v = xor(high(even, odd), c3v, i32x4.splat(k1 + round * WEYL_1));
      c3v = low(even, odd);
      c0v = xor(high(even1, odd1), c1v, i32x4.splat(k0 + round * WEYL_0));
      c1v = low(even1, odd1);
    }
    v128.store(at, c0v);
    v128.store(at, c1v, 16);
    v128.store(at, c2v, 32);
    v128.store(at, c3v, 48);
    counter = i32x4.add(counter, i32x4.splat(4));
  }
}

// @ts-ignore: decorator
@inline function step(sum: v128, x: v128, coefficient: f32): v128 {
  return f32x4.add(f32x4.mul(sum, x), f32x4.splat(coefficient));
}

/** Two vectors of words at `at` to eight normals in their place; see random/noise.ts for the why of each line. */
// @ts-ignore: decorator
@inline function boxMuller(at: usize): void {
  const first = f32x4.convert_i32x4_s(v128.or(v128.load(at), i32x4.splat(1)));
  const e = i32x4.shr_u(i32x4.shl(first, 1), 24);
  const m = v128.or(v128.and(first, i32x4.splat(0x007fffff)), i32x4.splat(0x3f800000));
  const t = f32x4.sub(f32x4.splat(2), m);
  let ln = step(f32x4.splat(0.0159605848), t, -0.0212695155);
  ln = step(ln, t, 0.0340432785);
  ln = step(ln, t, 0.0227983162);
  ln = step(ln, t, 0.0848623704);
  ln = step(ln, t, 0.249898235);
  ln = step(ln, t, 1.00000109);
  const whole = f32x4.mul(f32x4.convert_i32x4_s(i32x4.sub(i32x4.splat(157), e)), f32x4.splat(1.3862943649291992));
  const radius = f32x4.sqrt(f32x4.add(whole, f32x4.mul(t, ln)));
  const y = f32x4.mul(f32x4.convert_i32x4_s(v128.load(at, 16)), f32x4.splat(4.656612873077393e-10));
  const q = f32x4.mul(y, y);
  let cos = step(f32x4.splat(-0.000854853964), q, 0.0199495074);
  cos = step(cos, q, -0.233697634);
  cos = step(cos, q, 0.999999936);
  let sin = step(f32x4.splat(-0.00433688817), q, 0.0794414956);
  sin = step(sin, q, -0.645896877);
  sin = step(sin, q, 1.57079164);
  const across = f32x4.mul(radius, f32x4.mul(f32x4.sub(f32x4.splat(1), q), cos));
  const along = f32x4.mul(radius, f32x4.mul(y, sin));
  v128.store(at, v128.xor(across, v128.and(first, i32x4.splat(0x80000000))));
  v128.store(at, along, 16);
}

/** `n` elements (a multiple of 16) of Gaussian noise from block (blockHigh, blockLow), a multiple of 4, to `out`. */
export function gaussian(k0: u32, k1: u32, c2: u32, c3: u32, blockLow: u32, blockHigh: u32, n: i32, out: usize): void {
  // Two passes over a cached tile: each is a short chain, so that the processor overlaps many groups.
  bits(k0, k1, c2, c3, blockLow, blockHigh, n >> 4, out);
  const end = out + (<usize>n << 2);
  for (let at = out; at < end; at += 32) boxMuller(at);
}

/** `n` elements (a multiple of 512) of signs from block (blockHigh, blockLow), a multiple of 4, to `out`. */
export function rademacher(k0: u32, k1: u32, c2: u32, c3: u32, blockLow: u32, blockHigh: u32, n: i32, out: usize): void {
  // The words go to the end of the room and are read before signs reach them.
  const words = n >> 5;
  const end = out + (<usize>n << 2);
  let from = end - (<usize>words << 2);
  bits(k0, k1, c2, c3, blockLow, blockHigh, words >> 4, from);
  for (let at = out; at < end; from += 16) {
    let word = v128.load(from);
    for (const stop = at + 512; at < stop; at += 64) {
      v128.store(at, sign(word));
      v128.store(at, sign(i32x4.shl(word, 1)), 16);
      v128.store(at, sign(i32x4.shl(word, 2)), 32);
      v128.store(at, sign(i32x4.shl(word, 3)), 48);
      word = i32x4.shl(word, 4);
    }
  }
}

/** The sign bit of each lane on 1. */
// @ts-ignore: decorator
@inline function sign(word: v128): v128 {
  return v128.or(v128.and(word, i32x4.splat(0x80000000)), f32x4.splat(1));
}
