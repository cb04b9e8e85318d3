/** Numbers as people read them. */

export const percent = (fraction: number): string => `${(100 * fraction).toFixed(1)}%`;

/** 1234567 → "1,234,567". */
export const grouped = (value: number): string => String(value).replace(/\B(?=(\d{3})+$)/g, ",");

/** "1 row", "1,200 rows". */
export const counted = (n: number, one: string, many = `${one}s`): string => `${grouped(n)} ${n === 1 ? one : many}`;

/** Settings as they are typed: 0.01, 1e-3. */
export const setting = (value: number): string =>
  value !== 0 && Math.abs(value) < 0.01 ? value.toExponential() : String(value);

export const bytes = (count: number): string =>
  count >= 1e9 ? `${(count / 1e9).toFixed(2)} GB` : `${Math.round(count / 1e6)} MB`;

/** Seconds in the two units that matter: "4.2 s", "3 min 12 s", "2 h 5 min". */
export const duration = (seconds: number): string => {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
};

/** Steps a second when it is quick, seconds a step when it is not. */
export const rate = (secondsPerStep: number): string => {
  if (!(secondsPerStep > 0)) return "";
  return secondsPerStep < 1
    ? `${(1 / secondsPerStep).toPrecision(3)} steps/s`
    : `${secondsPerStep.toPrecision(3)} s/step`;
};

export const bar = (fraction: number, width: number): string => {
  const full = Math.round(Math.min(1, Math.max(0, fraction)) * width);
  return "█".repeat(full) + "░".repeat(width - full);
};
