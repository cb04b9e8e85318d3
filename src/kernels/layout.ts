import type { Key } from "../random/key.js";
import { permutation } from "../random/shuffle.js";
import type { Layout } from "./program.js";

/*
 * States that are smaller than their tensor, and its elements: values spread over elements, elements summed into values. Plain loops
 * in the order of elements, which the walks of every platform share.
 */

type Lines = Extract<Layout, { kind: "lines" }>;

/** The lines that are chosen for a tensor: for each row (or column) its place among the chosen ones, or −1. */
export const chosenLines = (
  { axis, count }: Lines,
  length: number,
  columns: number,
  tensor: bigint,
  key: { readonly seed: bigint; readonly step: number },
): Int32Array => {
  const lines = axis === "row" ? length / columns : columns;
  // A tensor's own: the seed moved by its id, so that tensors of one shape choose apart.
  const drawn: Key = { seed: BigInt.asUintN(64, key.seed ^ tensor), stream: "factor", step: key.step, query: 0 };
  const places = new Int32Array(lines).fill(-1);
  permutation(lines, drawn)
    .subarray(0, count)
    .sort()
    .forEach((line, place) => {
      places[line] = place;
    });
  return places;
};

/** Elements `start` … of a tensor, the values that a state has for them. */
export const spread = (
  layout: Layout,
  values: Float32Array,
  start: number,
  columns: number,
  out: Float32Array,
  chosen?: Int32Array,
): void => {
  if (layout.kind === "element") out.set(values.subarray(start, start + out.length));
  else if (layout.kind === "chunk") {
    for (let i = 0; i < out.length; ) {
      const chunk = Math.floor((start + i) / layout.size);
      const end = Math.min(out.length, (chunk + 1) * layout.size - start);
      out.fill(values[chunk] ?? Number.NaN, i, end);
      i = end;
    }
  } else if (layout.kind === "column") {
    for (let i = 0; i < out.length; i++) out[i] = values[(start + i) % columns] ?? Number.NaN;
  } else
    for (let i = 0; i < out.length; i++) {
      const at = placeIn(layout, start + i, columns, chosen);
      out[i] = at < 0 ? 0 : (values[at] ?? Number.NaN);
    }
};

/** Where an element's value lies in a state of lines; below 0 where it has none. */
const placeIn = ({ axis, count }: Lines, element: number, columns: number, chosen?: Int32Array): number => {
  const column = element % columns;
  const row = (element - column) / columns;
  const place = chosen?.[axis === "row" ? row : column] ?? -1;
  if (place < 0) return -1;
  return axis === "row" ? place * columns + column : row * count + place;
};

/** Puts elements `start` … back into a state of lines; those on no line are dropped. */
export const gather = (
  layout: Lines,
  elements: Float32Array,
  start: number,
  columns: number,
  values: Float32Array,
  chosen: Int32Array,
): void => {
  for (let i = 0; i < elements.length; i++) {
    const at = placeIn(layout, start + i, columns, chosen);
    if (at >= 0) values[at] = elements[i] ?? Number.NaN;
  }
};

/** Adds elements `start` … to the sums of what shares a value. */
export const accumulate = (
  layout: Layout,
  elements: Float32Array,
  start: number,
  columns: number,
  sums: Float64Array,
): void => {
  const size = layout.kind === "chunk" ? layout.size : 1;
  for (let i = 0; i < elements.length; i++) {
    const element = start + i;
    const at = layout.kind === "column" ? element % columns : Math.floor(element / size);
    sums[at] = (sums[at] ?? 0) + (elements[i] ?? Number.NaN);
  }
};

/** Sums, or means over the elements that were summed, rounded to fp32. */
export const finished = (
  layout: Layout,
  sums: Float64Array,
  mean: boolean,
  length: number,
  columns: number,
): Float32Array => {
  const countOf = (place: number): number =>
    layout.kind === "column"
      ? length / columns
      : layout.kind === "chunk"
        ? Math.min(layout.size, length - place * layout.size)
        : 1;
  return Float32Array.from(sums, (sum, place) => (mean ? sum / countOf(place) : sum));
};
