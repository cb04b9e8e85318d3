/*
 * Noise in SIMD, bit for bit what random/noise.ts defines and explains. Everything works in the imported memory, on byte
 * addresses; nothing is allocated. The first page is this module's own.
 *
 * V8 has fifteen vector registers on x86. Each pass over memory, which stays in a near cache, is small enough that all its
 * constants and variables fit, since spilling them costs more than another pass. Constants are read from memory: V8 rebuilds a
 * constant of the code, two or three instructions, wherever it is used. The room is divided into slots of two vectors: words come
 * first, squared radii go beside them, and normals take the place of both.
 */

// @ts-ignore: decorator
@inline const MULTIPLIER_0: u32 = 0xd2511f53;
// @ts-ignore: decorator
@inline const MULTIPLIER_1: u32 = 0xcd9e8d57;
// @ts-ignore: decorator
@inline const ROUNDS: u32 = 7;
// @ts-ignore: decorator
@inline const SLOT: usize = 32;

/** Two words for each round: its key, and in the first two rounds all else that is the same for every block. */
const keys: usize = memory.data(56);
/** MULTIPLIER_0 times 0 … 7, 64 bits each. */
const multiples: usize = memory.data(64, 16);

/** Coefficients, lowest first, of the curve over the logarithm's line and of cubics whose highest one is −1. */
const CURVE: usize = memory.data<f32>([-0.000900382351, 6.79951859e-11, 3.68292903e-18, -9.27722858e-26, 2.53487951e-32]);
const COSINE: usize = memory.data<f32>([0.00714877807, -0.171255574, 0.681062043]);
const SINE: usize = memory.data<f32>([0.0494870171, -0.395193368, 0.943916917]);
/** Of the line, and of angles. */
const UNITS: usize = memory.data<f32>([0.00323367305, 1.05665199e-10]);
/** 2³²/φ; MULTIPLIER_0 and MULTIPLIER_1 */
const FACTORS: usize = memory.data<u32>([0x9e3779b9, 0xd2511f53, 0xcd9e8d57]);
/** Of fp32: 2³¹, mantissa, distances below 2³¹ without their sign, sign, 1 */
const PATTERNS: usize = memory.data<u32>([0x4f000000, 0x007fffff, 0x0fffffff, 0x80000000, 0x3f800000]);

/** The number at `table[index]` in every lane. */
// @ts-ignore: decorator
@inline function entry(table: usize, index: usize): v128 {
  return v128.load32_splat(table + (index << 2));
}

// @ts-ignore: decorator
@inline function setKey(round: u32, first: u32, second: u32): void {
  store<u32>(keys + (<usize>round << 3), first);
  store<u32>(keys + (<usize>round << 3), second, 4);
}

/** For blocks that differ in the lowest counter word only. */
function prepare(k0: u32, k1: u32, c2: u32, c3: u32, blockHigh: u32): void {
  for (let round: u32 = 0; round < ROUNDS; round++) {
    setKey(round, k0 + round * 0x9e3779b9, k1 + round * 0xbb67ae85);
  }
  for (let i: u32 = 0; i < 8; i++) store<u64>(multiples + (<usize>i << 3), <u64>MULTIPLIER_0 * i);
  const product1 = <u64>MULTIPLIER_1 * c2;
  const product0 = <u64>MULTIPLIER_0 * (<u32>(product1 >> 32) ^ blockHigh ^ k0);
  setKey(0, <u32>product0, c3 ^ k1);
  setKey(1, <u32>product1 ^ load<u32>(keys, 8), <u32>(product0 >> 32) ^ load<u32>(keys, 12));
}

/** The lower halves of four 64-bit numbers. */
// @ts-ignore: decorator
@inline function lower(a: v128, b: v128): v128 {
  return i32x4.shuffle(a, b, 0, 2, 4, 6);
}

/** The upper halves of four 64-bit numbers. */
// @ts-ignore: decorator
@inline function upper(a: v128, b: v128): v128 {
  return i32x4.shuffle(a, b, 1, 3, 5, 7);
}

/** The upper halves of products; `i32x4.mul` gives the lower ones. */
// @ts-ignore: decorator
@inline function high(a: v128, b: v128): v128 {
  return upper(i64x2.extmul_low_i32x4_u(a, b), i64x2.extmul_high_i32x4_u(a, b));
}

/** a ^ b ^ c, the last two first, which are known earlier. */
// @ts-ignore: decorator
@inline function mix(a: v128, b: v128, c: v128): v128 {
  return v128.xor(a, v128.xor(b, c));
}

/**
 * Words to slots from `at` to `end`: Philox4x32-7 on blocks from `block` on, whose number is a multiple of 8 and whose lowest
 * counter word may not wrap. A vector holds one word of four blocks; `a` are four of them and `b` the next four, each of which
 * works while the other waits.
 */
function fillBits(block: u32, at: usize, end: usize): void {
  const m0 = entry(FACTORS, 1), m1 = entry(FACTORS, 2);
  for (let product = <u64>MULTIPLIER_0 * block; at < end; at += 8 * SLOT, product += 8 * <u64>MULTIPLIER_0) {
    // Blocks differ in one word, after a round in two, and after another in three: half of the two rounds' products are shared.
    const first = i64x2.splat(product);
    const a01 = i64x2.add(first, v128.load(multiples)), a23 = i64x2.add(first, v128.load(multiples, 16));
    const b01 = i64x2.add(first, v128.load(multiples, 32)), b23 = i64x2.add(first, v128.load(multiples, 48));
    let k0 = entry(keys, 2), k1 = entry(keys, 1);
    let a2 = v128.xor(upper(a01, a23), k1), b2 = v128.xor(upper(b01, b23), k1);
    k1 = entry(keys, 3);
    let a0 = v128.xor(high(a2, m1), k0), b0 = v128.xor(high(b2, m1), k0);
    let a1 = i32x4.mul(a2, m1), b1 = i32x4.mul(b2, m1);
    a2 = v128.xor(lower(a01, a23), k1);
    b2 = v128.xor(lower(b01, b23), k1);
    let a3 = entry(keys, 0), b3 = a3;
    for (let key = keys + 16; key < keys + (<usize>ROUNDS << 3); key += 8) {
      k0 = v128.load32_splat(key);
      k1 = v128.load32_splat(key, 4);
      let word = a0;
      a0 = mix(high(a2, m1), a1, k0);
      a1 = i32x4.mul(a2, m1);
      a2 = mix(high(word, m0), a3, k1);
      a3 = i32x4.mul(word, m0);
      word = b0;
      b0 = mix(high(b2, m1), b1, k0);
      b1 = i32x4.mul(b2, m1);
      b2 = mix(high(word, m0), b3, k1);
      b3 = i32x4.mul(word, m0);
    }
    v128.store(at, a0);
    v128.store(at, a1, SLOT);
    v128.store(at, a2, 2 * SLOT);
    v128.store(at, a3, 3 * SLOT);
    v128.store(at, b0, 4 * SLOT);
    v128.store(at, b1, 5 * SLOT);
    v128.store(at, b2, 6 * SLOT);
    v128.store(at, b3, 7 * SLOT);
  }
}

/** sum·x + c */
// @ts-ignore: decorator
@inline function step(sum: v128, x: v128, c: v128): v128 {
  return f32x4.add(f32x4.mul(sum, x), c);
}

/** Slots' words to squared radii beside them. */
// @ts-ignore: decorator
@inline function squareRadii(out: usize, end: usize): void {
  const l0 = entry(CURVE, 0), l1 = entry(CURVE, 1), l2 = entry(CURVE, 2);
  const l3 = entry(CURVE, 3), l4 = entry(CURVE, 4), unit = entry(UNITS, 0);
  const top = entry(PATTERNS, 0), mantissa = entry(PATTERNS, 1), range = entry(PATTERNS, 2);
  for (let at = out; at < end; at += SLOT) {
    const below = i32x4.sub(top, f32x4.convert_i32x4_s(v128.load(at)));
    const line = f32x4.mul(f32x4.convert_i32x4_s(v128.and(below, range)), unit);
    const t = f32x4.convert_i32x4_s(v128.and(below, mantissa));
    const curve = step(step(l4, f32x4.mul(t, t), step(l3, t, l2)), f32x4.mul(t, t), step(l1, t, l0));
    v128.store(at, f32x4.add(line, f32x4.mul(t, curve)), 16);
  }
}

/** (top − q)·q² + c1·q + c0 */
// @ts-ignore: decorator
@inline function cubic(top: v128, c1: v128, c0: v128, q: v128): v128 {
  return step(step(f32x4.sub(top, q), q, c1), q, c0);
}

/** Slots of words and squared radii to normals. */
// @ts-ignore: decorator
@inline function turn(out: usize, end: usize): void {
  const c0 = entry(COSINE, 0), c1 = entry(COSINE, 1), c2 = entry(COSINE, 2);
  const s0 = entry(SINE, 0), s1 = entry(SINE, 1), s2 = entry(SINE, 2);
  const unit = entry(UNITS, 1), golden = entry(FACTORS, 0), sign = entry(PATTERNS, 3);
  for (let at = out; at < end; at += SLOT) {
    const word = v128.load(at);
    const radius = v128.or(f32x4.sqrt(v128.load(at, 16)), v128.and(word, sign));
    const y = f32x4.mul(f32x4.convert_i32x4_s(i32x4.mul(word, golden)), unit);
    const q = f32x4.mul(y, y);
    v128.store(at, f32x4.mul(radius, cubic(c2, c1, c0, q)));
    v128.store(at, f32x4.mul(f32x4.mul(radius, y), cubic(s2, s1, s0, q)), 16);
  }
}

/** `n` elements (a multiple of 64) of Gaussian noise to `out`, from block (blockHigh, blockLow), a multiple of 8, on. */
export function gaussian(k0: u32, k1: u32, c2: u32, c3: u32, blockLow: u32, blockHigh: u32, n: i32, out: usize): void {
  const end = out + (<usize>n << 2);
  prepare(k0, k1, c2, c3, blockHigh);
  fillBits(blockLow, out, end);
  squareRadii(out, end);
  turn(out, end);
}

/** `n` elements (a multiple of 1024) of random signs to `out`, from block (blockHigh, blockLow), a multiple of 8, on. */
export function rademacher(k0: u32, k1: u32, c2: u32, c3: u32, blockLow: u32, blockHigh: u32, n: i32, out: usize): void {
  // The words lie at the end of the room, where signs reach them after they are read.
  const end = out + (<usize>n << 2);
  let from = end - (<usize>n >> 2);
  prepare(k0, k1, c2, c3, blockHigh);
  fillBits(blockLow, from, end);
  const one = entry(PATTERNS, 4), sign = entry(PATTERNS, 3);
  for (let at = out; at < end; from += SLOT) {
    let words = v128.load(from);
    for (const stop = at + 512; at < stop; at += 64) {
      v128.store(at, v128.or(v128.and(words, sign), one));
      v128.store(at, v128.or(v128.and(i32x4.shl(words, 1), sign), one), 16);
      v128.store(at, v128.or(v128.and(i32x4.shl(words, 2), sign), one), 32);
      v128.store(at, v128.or(v128.and(i32x4.shl(words, 3), sign), one), 48);
      words = i32x4.shl(words, 4);
    }
  }
}

/**
 * Sets to 0 the elements of `z` (n of them, a multiple of 32) whose word of a mask is below `threshold`. Words are drawn as for noise, from
 * block (blockHigh, blockLow), a multiple of 8, on, one an element; `scratch` has room for two fp32 an element.
 */
export function sparsify(
  k0: u32, k1: u32, c2: u32, c3: u32, blockLow: u32, blockHigh: u32, n: i32, z: usize, scratch: usize, threshold: u32,
): void {
  const end = z + (<usize>n << 2);
  prepare(k0, k1, c2, c3, blockHigh);
  fillBits(blockLow, scratch, scratch + (<usize>n << 3));
  const least = i32x4.splat(threshold);
  for (let at = z, from = scratch; at < end; at += 16, from += SLOT) {
    v128.store(at, v128.and(v128.load(at), i32x4.ge_u(v128.load(from), least)));
  }
}

/** A bit for each of `n` elements (a multiple of 32), lowest first: whether |weight| is at most `threshold`. */
export function mark(weight: usize, n: i32, bits: usize, threshold: f32): void {
  const end = weight + (<usize>n << 2);
  const most = f32x4.splat(threshold);
  for (let at = weight, to = bits; at < end; at += 128, to += 4) {
    let word: u32 = 0;
    for (let i: u32 = 0; i < 8; i++) {
      const small = f32x4.le(f32x4.abs(v128.load(at + (<usize>i << 4))), most);
      word |= <u32>i32x4.bitmask(small) << (i << 2);
    }
    store<u32>(to, word);
  }
}

/** Sets to 0 the elements of `z` (n of them, a multiple of 32) whose bit is not set. */
export function screen(z: usize, n: i32, bits: usize): void {
  const end = z + (<usize>n << 2);
  const lanes = i32x4(1, 2, 4, 8);
  const none = i32x4.splat(0);
  for (let at = z, from = bits; at < end; at += 128, from += 4) {
    let word = load<u32>(from);
    for (let i: usize = 0; i < 128; i += 16) {
      const kept = i32x4.ne(v128.and(i32x4.splat(word), lanes), none);
      v128.store(at + i, v128.and(v128.load(at + i), kept));
      word >>= 4;
    }
  }
}
