// Noise tiles in SIMD128 (no relaxed SIMD): the same operations in the same order as src/random/noise.ts, four lanes at a time.
// Philox4x32-7: four counters, one a lane; the group's words end up in x0 … x3.

let x0: v128 = i32x4.splat(0);
let x1: v128 = i32x4.splat(0);
let x2: v128 = i32x4.splat(0);
let x3: v128 = i32x4.splat(0);

// @ts-ignore: decorator
@inline
function low(a: v128, b: v128): v128 {
  return v128.shuffle<i32>(a, b, 0, 2, 4, 6);
}

// @ts-ignore: decorator
@inline
function high(a: v128, b: v128): v128 {
  return v128.shuffle<i32>(a, b, 1, 3, 5, 7);
}

// @ts-ignore: decorator
@inline
function philox(block: u64, k0: u32, k1: u32, c2: u32, c3: u32): void {
  const m0 = i32x4.splat(0xd2511f53);
  const m1 = i32x4.splat(0xcd9e8d57);
  let a = i32x4.add(i32x4.splat(<i32>block), i32x4(0, 1, 2, 3));
  let b = i32x4.splat(<i32>(block >> 32));
  let c = i32x4.splat(c2);
  let d = i32x4.splat(c3);
  for (let round = 0; round < 7; round++) {
    const p0 = i64x2.extmul_low_i32x4_u(a, m0);
    const p1 = i64x2.extmul_high_i32x4_u(a, m0);
    const q0 = i64x2.extmul_low_i32x4_u(c, m1);
    const q1 = i64x2.extmul_high_i32x4_u(c, m1);
    a = v128.xor(v128.xor(high(q0, q1), b), i32x4.splat(k0));
    b = low(q0, q1);
    c = v128.xor(v128.xor(high(p0, p1), d), i32x4.splat(k1));
    d = low(p0, p1);
    k0 += 0x9e3779b9;
    k1 += 0xbb67ae85;
  }
  x0 = a;
  x1 = b;
  x2 = c;
  x3 = d;
}

// @ts-ignore: decorator
@inline
function boxMuller(first: v128, second: v128, out: usize): void {
  const one = f32x4.splat(1);
  const half = f32x4.splat(0.5);
  // radius
  const u = f32x4.add(f32x4.convert_i32x4_u(first), half);
  const shifted = i32x4.add(u, i32x4.splat(0x3f800000 - 0x3f3504f3));
  const exponent = f32x4.convert_i32x4_s(i32x4.sub(i32x4.shr_s(shifted, 23), i32x4.splat(127 + 32)));
  const m = i32x4.add(v128.and(shifted, i32x4.splat(0x007fffff)), i32x4.splat(0x3f3504f3));
  const x = f32x4.sub(m, one);
  const s = f32x4.div(x, f32x4.add(x, f32x4.splat(2)));
  const z = f32x4.mul(s, s);
  const w = f32x4.mul(z, z);
  const t1 = f32x4.mul(w, f32x4.add(f32x4.splat(0.40000972152), f32x4.mul(w, f32x4.splat(0.24279078841))));
  const t2 = f32x4.mul(z, f32x4.add(f32x4.splat(0.66666662693), f32x4.mul(w, f32x4.splat(0.28498786688))));
  const hx = f32x4.mul(f32x4.mul(x, x), half);
  const product = f32x4.mul(s, f32x4.add(hx, f32x4.add(t1, t2)));
  const log = f32x4.add(f32x4.add(f32x4.sub(product, hx), x), f32x4.mul(exponent, f32x4.splat(0.6931471805599453)));
  const r = f32x4.sqrt(f32x4.mul(log, f32x4.splat(-2)));
  // direction
  const turn = f32x4.mul(f32x4.convert_i32x4_s(i32x4.shl(second, 2)), f32x4.splat(2.3283064365386963e-10));
  const angle = f32x4.mul(turn, f32x4.splat(1.5707963267948966));
  const y = f32x4.mul(angle, angle);
  const ps = f32x4.add(f32x4.splat(8.3321608736e-3), f32x4.mul(y, f32x4.splat(-1.9515295891e-4)));
  const sin = f32x4.add(angle, f32x4.mul(f32x4.mul(angle, y), f32x4.add(f32x4.splat(-1.6666654611e-1), f32x4.mul(y, ps))));
  const pc = f32x4.add(f32x4.splat(-1.388731625493765e-3), f32x4.mul(y, f32x4.splat(2.443315711809948e-5)));
  const poly = f32x4.add(f32x4.splat(4.166664568298827e-2), f32x4.mul(y, pc));
  const cos = f32x4.add(f32x4.mul(f32x4.mul(y, y), poly), f32x4.sub(one, f32x4.mul(y, half)));
  const signed = v128.xor(cos, v128.and(second, i32x4.splat(0x80000000)));
  const swap = i32x4.shr_s(i32x4.shl(second, 1), 31);
  v128.store(out, f32x4.mul(v128.bitselect(sin, signed, swap), r));
  v128.store(out, f32x4.mul(v128.bitselect(signed, sin, swap), r), 16);
}

/** Fills `count` floats (a multiple of 16) at `out`, from element 4 · block on (block a multiple of 4). */
export function gaussian(out: usize, count: u32, block: u64, k0: u32, k1: u32, c2: u32, c3: u32): void {
  for (const end = out + ((<usize>count) << 2); out < end; out += 64) {
    philox(block, k0, k1, c2, c3);
    boxMuller(x0, x1, out);
    boxMuller(x2, x3, out + 32);
    block += 4;
  }
}

// @ts-ignore: decorator
@inline
function signs(word: v128, out: usize): void {
  const sign = i32x4.splat(0x80000000);
  const one = f32x4.splat(1);
  for (let bit = 0; bit < 32; bit++) {
    v128.store(out, v128.or(v128.and(i32x4.shl(word, 31 - bit), sign), one));
    out += 16;
  }
}

/** Fills `count` floats (a multiple of 512) at `out` with ±1, from element 128 · block on (block a multiple of 4). */
export function rademacher(out: usize, count: u32, block: u64, k0: u32, k1: u32, c2: u32, c3: u32): void {
  for (const end = out + ((<usize>count) << 2); out < end; out += 2048) {
    philox(block, k0, k1, c2, c3);
    signs(x0, out);
    signs(x1, out + 512);
    signs(x2, out + 1024);
    signs(x3, out + 1536);
    block += 4;
  }
}
