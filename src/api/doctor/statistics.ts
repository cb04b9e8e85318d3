export const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** Root mean square. */
export const rms = (values: readonly number[]): number => Math.sqrt(mean(values.map((value) => value * value)));

export const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

/** To so many digits, as a number: 0.0012345 → 0.0012. */
export const rounded = (value: number, digits = 2): number => Number(value.toPrecision(digits));

/** As people write it: 0.0012, 1.2e-5. */
export const shown = (value: number): string =>
  value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)
    ? value.toExponential(1).replace(".0e", "e").replace("e+", "e")
    : String(rounded(value));
