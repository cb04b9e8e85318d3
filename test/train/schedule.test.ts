import fc from "fast-check";
import { expect, test } from "vitest";
import { learningRateAt, type Schedule, scheduleKinds } from "../../src/train/schedule.js";

const rates = (schedule: Schedule): readonly number[] =>
  Array.from({ length: schedule.steps }, (_, step) => learningRateAt(step, schedule));

test("known values", () => {
  const base = { learningRate: 1, warmup: 0, steps: 4 };
  const cosine = [1, (1 + Math.SQRT1_2) / 2, 0.5, (1 - Math.SQRT1_2) / 2];
  expect(rates({ kind: "constant", ...base })).toEqual([1, 1, 1, 1]);
  expect(rates({ kind: "linear", ...base })).toEqual([1, 0.75, 0.5, 0.25]);
  for (const [step, rate] of rates({ kind: "cosine", ...base }).entries())
    expect(rate).toBeCloseTo(cosine[step] ?? 0, 12);
  expect(rates({ kind: "linear", learningRate: 2, warmup: 4, steps: 8 })).toEqual([0.5, 1, 1.5, 2, 2, 1.5, 1, 0.5]);
});

test("every schedule rises evenly to its peak, never rises after it, and never wastes a step", () => {
  const schedules = fc.record({
    kind: fc.constantFrom(...scheduleKinds),
    learningRate: fc.double({ min: 1e-9, max: 10, noNaN: true }),
    warmup: fc.nat({ max: 60 }),
    steps: fc.integer({ min: 1, max: 80 }),
  });
  fc.assert(
    fc.property(schedules, (schedule) => {
      const { learningRate, warmup, steps } = schedule;
      for (const [step, rate] of rates(schedule).entries()) {
        expect(rate).toBeGreaterThan(0);
        expect(rate).toBeLessThanOrEqual(learningRate * (1 + 1e-15));
        if (step < warmup) expect(rate / learningRate).toBeCloseTo((step + 1) / warmup, 12);
        else if (step > warmup) expect(rate).toBeLessThanOrEqual(learningRateAt(step - 1, schedule));
      }
      if (warmup < steps) expect(learningRateAt(warmup, schedule)).toBe(learningRate);
      // A step past the end, as after an extension, is defined.
      expect(learningRateAt(10 * steps + warmup, schedule)).toBeGreaterThanOrEqual(0);
    }),
  );
});
