// What was measured, kept line by line, so that a bench that takes hours goes on where it was.
import { appendFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { dirname } from "node:path";

/** @param file JSON lines of { key, … }; a key is measured once */
export const ledger = (file) => {
  const lines = existsSync(file) ? readFileSync(file, "utf8").trim().split("\n").filter(Boolean) : [];
  const known = new Map(lines.map((line) => JSON.parse(line)).map((entry) => [JSON.stringify(entry.key), entry]));
  return {
    /** What is known under a key. */
    get: (key) => known.get(JSON.stringify(key)),
    /** What is known under a key, or else what `measure` gives, which is then kept. */
    async once(key, measure) {
      const name = JSON.stringify(key);
      const old = known.get(name);
      if (old !== undefined) return old;
      const entry = { key, date: new Date().toISOString().slice(0, 10), ...(await measure()) };
      mkdirSync(dirname(file), { recursive: true });
      appendFileSync(file, `${JSON.stringify(entry)}\n`);
      known.set(name, entry);
      return entry;
    },
  };
};

/** Mean, and half the width of its 95 % interval by Student's t; none from one value. */
export const interval = (values) => {
  const t = [0, 12.71, 4.3, 3.18, 2.78, 2.57, 2.45, 2.36];
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  if (values.length < 2) return { mean };
  const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / (values.length - 1);
  return { mean, half: (t[values.length - 1] ?? 1.96) * Math.sqrt(variance / values.length) };
};

/** Where along `by` a trajectory first reaches an accuracy, between its points in a straight line; undefined where it does not. */
export const reaching = (points, accuracy, by) => {
  const i = points.findIndex((point) => point.accuracy >= accuracy);
  if (i <= 0) return i === 0 ? points[0][by] : undefined;
  const [before, after] = [points[i - 1], points[i]];
  const share = (accuracy - before.accuracy) / (after.accuracy - before.accuracy);
  return before[by] + share * (after[by] - before[by]);
};
