/**
 * How many items each of two lists loses where `count` go in all, each from the list that is the longer one by then; the first of equals.
 * Undefined where they do not hold as many.
 */
export const cutsOf = (first: number, second: number, count: number): readonly [number, number] | undefined => {
  if (count > first + second) return undefined;
  let [ofFirst, ofSecond] = [0, 0];
  for (let i = 0; i < count; i++) {
    if (first - ofFirst >= second - ofSecond) ofFirst++;
    else ofSecond++;
  }
  return [ofFirst, ofSecond];
};

/** A list without `cut` of its items from place `from` on. */
export const without = (ids: readonly number[], from: number, cut: number): readonly number[] => [
  ...ids.slice(0, from),
  ...ids.slice(from + cut),
];
