/* Tensors that a file keeps otherwise than Hugging Face does, as llama.cpp's files do: both ways, in place. */

export type Kept =
  /** Rows of queries or keys, head by head: each rotary pair together (pair, half), where Hugging Face has the halves of all pairs one after the other (half, pair). */
  | { readonly as: "rotary pairs"; readonly heads: number }
  /** [columns, rows] */
  | { readonly as: "transpose" }
  /** A norm's weights, which Hugging Face keeps less one. */
  | { readonly as: "one more" };

type Way = "to hub" | "to file";
/** @param shape as Hugging Face has it */
type Turn = (data: Float32Array, shape: readonly number[], way: Way, heads: number) => void;

/** An array [across, down] of stretches of `width` elements becomes [down, across]. */
const swapAxes = (data: Float32Array, across: number, down: number, width: number): void => {
  const before = data.slice();
  for (let i = 0; i < down; i++) {
    for (let j = 0; j < across; j++) {
      const [from, to] = [(j * down + i) * width, (i * across + j) * width];
      for (let k = 0; k < width; k++) data[to + k] = before[from + k] ?? 0;
    }
  }
};

const turns: Readonly<Record<Kept["as"], Turn>> = {
  "rotary pairs"(data, [rows = 1], way, heads) {
    const [width, size] = [data.length / rows, rows / heads];
    const [across, down] = way === "to hub" ? [size / 2, 2] : [2, size / 2];
    for (let head = 0; head < heads; head++)
      swapAxes(data.subarray(head * size * width, (head + 1) * size * width), across, down, width);
  },
  transpose(data, [rows = 1, columns = 1], way) {
    swapAxes(data, ...(way === "to hub" ? ([columns, rows] as const) : ([rows, columns] as const)), 1);
  },
  "one more"(data, _, way) {
    const by = way === "to hub" ? -1 : 1;
    for (let i = 0; i < data.length; i++) data[i] = (data[i] ?? 0) + by;
  },
};

/** A tensor from the way that a file keeps it to Hugging Face's, or back. */
export const turn = (data: Float32Array, shape: readonly number[], kept: Kept, way: Way): void =>
  turns[kept.as](data, shape, way, kept.as === "rotary pairs" ? kept.heads : 1);
