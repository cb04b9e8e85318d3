import type { Key } from "../random/key.js";
import { tensorKey } from "../random/key.js";
import type { Distribution } from "../random/noise.js";
import { noiseWasm } from "./noise.wasm.js";

/** Elements drawn at a time: a multiple of what every distribution makes at once. */
const TILE = 16_384;
const PAGE_BYTES = 65_536;
const blocks: Readonly<Record<Distribution, number>> = { gaussian: 8, rademacher: 128 };

type Draw = (k0: number, k1: number, c2: number, c3: number, low: number, high: number, n: number, out: number) => void;

/** Draws the first elements of a tensor's noise, bit for bit as `fillNoise` defines it, by the kernels. */
export const drawer = (distribution: Distribution): ((key: Key, tensor: bigint, out: Float32Array) => void) => {
  const memory = new WebAssembly.Memory({ initial: 1 + (4 * TILE) / PAGE_BYTES });
  const module = new WebAssembly.Module(Buffer.from(noiseWasm, "base64"));
  const draw = new WebAssembly.Instance(module, { env: { memory } }).exports[distribution] as Draw;
  const tile = new Float32Array(memory.buffer, PAGE_BYTES, TILE);
  return (key, tensor, out) => {
    const [k0 = 0, k1 = 0, c2 = 0, c3 = 0] = tensorKey(key, tensor);
    for (let start = 0; start < out.length; start += TILE) {
      const block = start / blocks[distribution];
      draw(k0, k1, c2, c3, block % 2 ** 32, Math.floor(block / 2 ** 32), TILE, PAGE_BYTES);
      out.set(tile.subarray(0, Math.min(TILE, out.length - start)), start);
    }
  };
};
