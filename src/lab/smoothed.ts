import type { Dot } from "./pens.js";
import type { Trace } from "./trace.js";

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/**
 * A run's excess losses over its evaluations in `count` stretches, the geometric mean of each: on a logarithmic scale, what jumps from step to
 * step is a smear otherwise. Losses below `least` count as that.
 */
export const smoothed = ({ moments: [first, ...rest] }: Trace, least: number, count = 100): readonly Dot[] => {
  if (first === undefined) return [];
  const stretch = Math.max(1, rest.length / count);
  const bins = Array.from({ length: Math.ceil(rest.length / stretch) }, (_, i) =>
    rest.slice(Math.floor(i * stretch), Math.max(Math.floor((i + 1) * stretch), Math.floor(i * stretch) + 1)),
  );
  return [
    [first.evaluations, first.excess],
    ...bins.map((bin): Dot => {
      const logs = bin.map(({ excess }) => Math.log(Math.max(least, excess)));
      return [mean(bin.map(({ evaluations }) => evaluations)), Math.exp(mean(logs))];
    }),
  ];
};
