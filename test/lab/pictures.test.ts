import fc from "fast-check";
import { expect, test } from "vitest";
import { curve, disc, legend, style } from "../../src/lab/pens.js";
import { plot } from "../../src/lab/plot.js";
import { page } from "../../src/svg.js";
import { elements, numbersOf } from "../svg.js";

const frame = { left: 50, top: 40, width: 300, height: 200 };
const drawn = (name: string, points: readonly (readonly [number, number])[], scale: "linear" | "log" = "linear") => {
  const pen = { name, series: 1 };
  const axis = { scale, domain: [1e-5, 1e3], label: name } as const;
  const axes = { x: axis, y: axis, title: name, note: name };
  return page({ width: 400, height: 300, left: 32, title: name, subtitle: name, style }, [
    ...legend([pen], 50, 20, 300),
    ...plot(frame, axes, (x, y) => [curve(pen, points, x, y), ...points.map(([a, b]) => disc(pen, [x(a), y(b)], 3))]),
  ]);
};

test("whatever names and numbers there are, a picture is well-formed, and no number is none", () => {
  const value = fc.oneof(fc.double({ noNaN: true, min: 1e-9, max: 1e9 }), fc.constantFrom(Number.MAX_VALUE, 1e-300));
  fc.assert(
    fc.property(
      fc.string({ unit: "binary" }),
      fc.array(fc.tuple(value, value), { maxLength: 20 }),
      fc.constantFrom("linear" as const, "log" as const),
      (name, points, scale) => {
        const svg = drawn(name, points, scale);
        elements(svg);
        expect(numbersOf(svg)).not.toMatch(/NaN|Infinity|undefined/);
      },
    ),
    { numRuns: 40 },
  );
});

test("names are escaped wherever they stand", () => {
  const svg = drawn('<script>"&"</script>', [[1, 1]]);
  expect(svg).not.toContain("<script>");
  // Title, heading and subtitle of the page, entry, curve, axes' labels, title and note of the plot.
  expect(svg.match(/&lt;script&gt;&quot;&amp;&quot;&lt;\/script&gt;/g)).toHaveLength(9);
});

test("an axis's numbers stand at its ticks: powers of ten far from 1 as such", () => {
  const svg = drawn("n", [], "log");
  const ticks = [...svg.matchAll(/<text class="muted small" x="([\d.]+)" y="256" text-anchor="middle">([^<]+)</g)];
  expect(ticks.map(([, , text]) => text)).toEqual(["1,000", "10", "0.1", "0.001", "10⁻⁵"]);
  // Eight decades over 300 pixels from 50 on.
  expect(ticks.map(([, x]) => Number(x))).toEqual([350, 275, 200, 125, 50]);
});

test("lines that are of one colour are told apart by dashes", () => {
  const draw = (series: number) =>
    curve(
      { name: "n", series },
      [
        [0, 0],
        [9, 9],
      ],
      (x) => x,
      (y) => y,
    );
  expect(draw(1)).not.toContain("dashed");
  expect(draw(8)).toBe(draw(1).replace('s1"', 's1 dashed"'));
});

test("a curve keeps its first and last point, and leaves out what cannot be seen", () => {
  const points = Array.from({ length: 1001 }, (_, i) => [i / 100, 0] as const);
  const [, path = ""] =
    / d="([^"]+)"/.exec(
      curve(
        { name: "n", series: 0 },
        points,
        (x) => x,
        (y) => y,
      ),
    ) ?? [];
  const xs = path
    .slice(1)
    .split("L")
    .map((dot) => Number(dot.split(",")[0]));
  expect([xs.at(0), xs.at(-1)]).toEqual([0, 10]);
  expect(xs.length).toBeLessThan(16);
});
