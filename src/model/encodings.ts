/** How a block of elements is stored. Block formats are GGUF's (ggml's `ggml-common.h` gives the layouts). */
interface EncodingRule {
  readonly blockElements: number;
  readonly blockBytes: number;
  /** Whole blocks to fp32. */
  decode(bytes: Uint8Array, out: Float32Array): void;
}

/** An IEEE half's value. */
const halfToFloat = (half: number): number => {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
};

/** The bits of an fp32 number to those of a half, to nearest even; too large becomes infinity. */
const halfBits = (bits: number): number => {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) return sign | ((magnitude + 0xfff + ((magnitude >> 13) & 1) - 0x38000000) >>> 13);
  // Subnormal halves are multiples of 2⁻²⁴: the significand is shifted to that unit, what falls off decides the rounding.
  const shift = 126 - (magnitude >>> 23);
  if (shift > 24) return sign;
  const significand = (magnitude & 0x7fffff) | 0x800000;
  const kept = significand >>> shift;
  const rest = significand & ((1 << shift) - 1);
  const middle = 1 << (shift - 1);
  return sign | (kept + (rest > middle || (rest === middle && (kept & 1) === 1) ? 1 : 0));
};

/** The bits of an fp32 number to those of a bfloat16, to nearest even. */
const bfloatBits = (bits: number): number =>
  (bits & 0x7fffffff) > 0x7f800000 ? (bits >>> 16) | 0x40 : (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;

const halves = Float32Array.from({ length: 65536 }, (_, half) => halfToFloat(half));
const u16 = (bytes: Uint8Array, at: number): number => (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
/** Two-byte elements of an encoding without blocks. */
const pairs = (bytes: Uint8Array): Uint16Array =>
  bytes.byteOffset % 2 === 0 ? new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2) : pairs(bytes.slice());
const half = (bytes: Uint8Array, at: number): number => halves[u16(bytes, at)] ?? 0;

/** Runs a decoder of one block over all blocks. */
const blocks =
  (
    blockBytes: number,
    blockElements: number,
    block: (bytes: Uint8Array, at: number, out: Float32Array, to: number) => void,
  ) =>
  (bytes: Uint8Array, out: Float32Array): void => {
    for (let at = 0, to = 0; at < bytes.length; at += blockBytes, to += blockElements) block(bytes, at, out, to);
  };

const rule = (blockElements: number, blockBytes: number, block: Parameters<typeof blocks>[2]): EncodingRule => ({
  blockElements,
  blockBytes,
  decode: blocks(blockBytes, blockElements, block),
});

/** The 6-bit scales and minima of a Q4_K block's eight sub-blocks, packed in 12 bytes. */
const scaleAndMin = (bytes: Uint8Array, at: number, j: number): readonly [number, number] => {
  const byte = (i: number) => bytes[at + i] ?? 0;
  if (j < 4) return [byte(j) & 63, byte(j + 4) & 63];
  return [(byte(j + 4) & 15) | ((byte(j - 4) >> 6) << 4), (byte(j + 4) >> 4) | ((byte(j) >> 6) << 4)];
};

/** Every encoding that weights are read from. */
export const encodings = {
  F32: {
    blockElements: 1,
    blockBytes: 4,
    decode: (bytes, out) => new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(bytes),
  },
  /** Whole numbers, their bits kept as they are: not weights. */
  I32: {
    blockElements: 1,
    blockBytes: 4,
    decode: (bytes, out) => new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(bytes),
  },
  F16: {
    blockElements: 1,
    blockBytes: 2,
    decode(bytes, out) {
      const elements = pairs(bytes);
      for (let i = 0; i < elements.length; i++) out[i] = halves[elements[i] ?? 0] ?? 0;
    },
  },
  BF16: {
    blockElements: 1,
    blockBytes: 2,
    decode(bytes, out) {
      const elements = pairs(bytes);
      const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
      for (let i = 0; i < elements.length; i++) bits[i] = (elements[i] ?? 0) << 16;
    },
  },
  /** d·(q − 8), 32 nibbles: the low halves first, then the high ones. */
  Q4_0: rule(32, 18, (bytes, at, out, to) => {
    const d = half(bytes, at);
    for (let i = 0; i < 16; i++) {
      const byte = bytes[at + 2 + i] ?? 0;
      out[to + i] = d * ((byte & 15) - 8);
      out[to + i + 16] = d * ((byte >> 4) - 8);
    }
  }),
  /** d·q + m. */
  Q4_1: rule(32, 20, (bytes, at, out, to) => {
    const d = half(bytes, at);
    const m = half(bytes, at + 2);
    for (let i = 0; i < 16; i++) {
      const byte = bytes[at + 4 + i] ?? 0;
      out[to + i] = Math.fround(d * (byte & 15)) + m;
      out[to + i + 16] = Math.fround(d * (byte >> 4)) + m;
    }
  }),
  /** d·q with signed bytes. */
  Q8_0: rule(32, 34, (bytes, at, out, to) => {
    const d = half(bytes, at);
    for (let i = 0; i < 32; i++) out[to + i] = d * (((bytes[at + 2 + i] ?? 0) << 24) >> 24);
  }),
  /** 256 elements: eight sub-blocks of d·scale·q − dmin·min. */
  Q4_K: rule(256, 144, (bytes, at, out, to) => {
    const d = half(bytes, at);
    const least = half(bytes, at + 2);
    for (let j = 0; j < 8; j += 2) {
      const [scaleLow, minLow] = scaleAndMin(bytes, at + 4, j);
      const [scaleHigh, minHigh] = scaleAndMin(bytes, at + 4, j + 1);
      for (let i = 0; i < 32; i++) {
        const byte = bytes[at + 16 + 16 * j + i] ?? 0;
        out[to + 32 * j + i] = Math.fround(d * scaleLow) * (byte & 15) - Math.fround(least * minLow);
        out[to + 32 * (j + 1) + i] = Math.fround(d * scaleHigh) * (byte >> 4) - Math.fround(least * minHigh);
      }
    }
  }),
  /** 256 elements of 6 bits in two halves of 128: low nibbles, then pairs of high bits; one signed scale for each 16. */
  Q6_K: rule(256, 210, (bytes, at, out, to) => {
    const d = half(bytes, at + 208);
    const put = (place: number, part: number, scaleAt: number, quant: number): void => {
      out[place + 32 * part] = Math.fround(d * (((bytes[scaleAt + 2 * part] ?? 0) << 24) >> 24)) * (quant - 32);
    };
    for (let h = 0; h < 2; h++) {
      for (let i = 0; i < 32; i++) {
        const low = bytes[at + 64 * h + i] ?? 0;
        const next = bytes[at + 64 * h + 32 + i] ?? 0;
        const high = bytes[at + 128 + 32 * h + i] ?? 0;
        const place = to + 128 * h + i;
        const scaleAt = at + 192 + 8 * h + (i >> 4);
        put(place, 0, scaleAt, (low & 15) | ((high & 3) << 4));
        put(place, 1, scaleAt, (next & 15) | (((high >> 2) & 3) << 4));
        put(place, 2, scaleAt, (low >> 4) | (((high >> 4) & 3) << 4));
        put(place, 3, scaleAt, (next >> 4) | ((high >> 6) << 4));
      }
    }
  }),
} satisfies Readonly<Record<string, EncodingRule>>;

export type Encoding = keyof typeof encodings;

/** Narrows fp32 to two bytes an element. */
const narrowing =
  (narrow: (bits: number) => number) =>
  (data: Float32Array): Uint8Array => {
    const bits = new Int32Array(data.buffer, data.byteOffset, data.length);
    const out = new Uint16Array(data.length);
    for (let i = 0; i < bits.length; i++) out[i] = narrow(bits[i] ?? 0);
    return new Uint8Array(out.buffer);
  };

/** Encodings that weights are written in: fp32 as a view of the data, the others rounded to nearest even. */
export const writers = {
  F32: (data: Float32Array): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  F16: narrowing(halfBits),
  BF16: narrowing(bfloatBits),
} satisfies Partial<Readonly<Record<Encoding, (data: Float32Array) => Uint8Array>>>;

export type WritableEncoding = keyof typeof writers;

/** As `config.json` names them. */
export const dtypeEncodings = {
  float32: "F32",
  float16: "F16",
  bfloat16: "BF16",
} as const satisfies Readonly<Record<string, WritableEncoding>>;
