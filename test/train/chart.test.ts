import fc from "fast-check";
import { expect, test } from "vitest";
import { type Chart, lossChart } from "../../src/train/chart.js";
import { elements, numbersOf } from "../svg.js";

const points = (values: readonly number[]): Chart["losses"] => values.map((loss, i) => ({ step: i + 1, loss }));

const anyValue = fc.oneof(fc.double({ min: -10, max: 10 }), fc.double());
const anyChart: fc.Arbitrary<Chart> = fc.record({
  title: fc.string({ unit: "binary" }),
  subtitle: fc.option(fc.string({ unit: "binary" }), { nil: undefined }),
  losses: fc
    .tuple(fc.array(anyValue, { maxLength: 9 }), fc.constantFrom(1, 30, 200))
    .map(([values, times]) => points(Array(times).fill(values).flat())),
  evaluations: fc
    .tuple(
      fc.constantFrom("accuracy" as const, "loss" as const),
      fc.array(fc.record({ step: fc.nat(), value: fc.double({ min: 0, max: 1 }) }), { maxLength: 70 }),
    )
    .map(([metric, values]) => values.map((value) => ({ metric, ...value }))),
});

test("any run gives well-formed SVG without a number that is none, the same twice", () => {
  fc.assert(
    fc.property(anyChart, (chart) => {
      const svg = lossChart(chart);
      elements(svg);
      expect(numbersOf(svg)).not.toMatch(/NaN|Infinity|undefined/);
      expect(lossChart(chart)).toBe(svg);
    }),
    { numRuns: 60 },
  );
});

test("the bold curve is the local mean: exact on a constant, and it follows a slope", () => {
  expect(lossChart({ title: "", losses: points(Array(50).fill(0.25)) })).toContain("0.250 → 0.250");
  const slope = lossChart({ title: "", losses: points(Array.from({ length: 1000 }, (_, i) => 2 - i / 1000)) });
  const [, from, to] = /(\d\.\d+) → (\d\.\d+)/.exec(slope) ?? [];
  // At its ends the mean looks to one side only: less than a fifteenth of the run away.
  expect(Number(from)).toBeGreaterThan(1.93);
  expect(Number(to)).toBeLessThan(1.07);
});

test("a wild loss does not flatten the others, and an infinite one is left out", () => {
  const losses = points(
    Array.from({ length: 400 }, (_, i) => (i === 200 ? 1e6 : i === 300 ? Number.POSITIVE_INFINITY : 1 + (i % 7) / 10)),
  );
  const svg = lossChart({ title: "", losses: losses.map((p) => (p.step === 201 ? { ...p, loss: 40 } : p)) });
  const ticks = [...svg.matchAll(/text-anchor="end">([\d.]+)</g)].map(([, tick]) => Number(tick));
  expect(Math.max(...ticks)).toBeLessThan(5);
});

test("evaluations get a panel with the best one ringed", () => {
  const evaluations = (metric: "accuracy" | "loss") =>
    [0.5, 0.875, 0.75].map((value, i) => ({ step: 1000 * i, metric, value }));
  const accuracy = lossChart({ title: "t", losses: points([1, 2, 3]), evaluations: evaluations("accuracy") });
  expect(accuracy).toContain("50.0% → 87.5% at step 1,000");
  expect(accuracy.match(/class="page score"/g)).toHaveLength(1);
  expect(accuracy).toContain(">75.0%<");
  expect(lossChart({ title: "t", losses: [], evaluations: evaluations("loss") })).toContain("\u20030.500 at step 0<");
  expect(lossChart({ title: "t", losses: points([1]) })).not.toContain("held-out");
});

test("the title is text, whatever it holds", () => {
  const svg = lossChart({ title: `<script>"&'\u0001`, losses: [] });
  expect(svg).toContain("&lt;script&gt;&quot;&amp;' ");
  expect(elements(svg)).not.toContain("script");
});
