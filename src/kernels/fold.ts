import { compileRule, RULE_STRIDE } from "./compile.js";
import { add, input, mul, scalar } from "./expr.js";

const PAGE_BYTES = 65_536;

type Run = (n: number, weight: number, z: number, out: number, scale: number) => void;

/**
 * Adds products of factors to matrices: W[i, :] ← W[i, :] + Σₖ L[i, k]·R[:, k]ᵀ, a term after the other, k ascending, each
 * fl(w + fl(l·r)) in fp32. The same bits on every platform.
 */
export const folder = () => {
  const rule = compileRule({ weight: add(input("weight"), mul(scalar("scale"), input("z"))) });
  const module = new WebAssembly.Module(rule.wasm);
  let memory = new WebAssembly.Memory({ initial: 1 });
  let run: Run | undefined;
  const reserve = (bytes: number): Run => {
    if (run === undefined || memory.buffer.byteLength < bytes) {
      memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / PAGE_BYTES) });
      run = new WebAssembly.Instance(module, { env: { memory } }).exports.run as Run;
    }
    return run;
  };
  /**
   * @param weight [m, n], changed in place
   * @param left [m, rank]
   * @param right [n, rank]
   */
  return (weight: Float32Array, left: Float32Array, right: Float32Array, rank: number): void => {
    const columns = right.length / rank;
    const stride = Math.ceil(columns / RULE_STRIDE) * RULE_STRIDE;
    const fold = reserve(4 * stride * (rank + 1));
    const row = new Float32Array(memory.buffer, 0, stride);
    // The rows of the right factor's transpose come after the row that is worked on.
    const transposed = new Float32Array(memory.buffer, 4 * stride, rank * stride);
    for (let j = 0; j < columns; j++)
      for (let k = 0; k < rank; k++) transposed[k * stride + j] = right[j * rank + k] ?? 0;
    for (let i = 0; i * columns < weight.length; i++) {
      const own = weight.subarray(i * columns, (i + 1) * columns);
      row.set(own);
      for (let k = 0; k < rank; k++) fold(columns, 0, 4 * stride * (k + 1), 0, left[i * rank + k] ?? 0);
      own.set(row.subarray(0, columns));
    }
  };
};
