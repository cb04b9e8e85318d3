import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { accumulate, chosenLines, finished, gather, spread } from "../../src/kernels/layout.js";
import { type Layout, lengthOf } from "../../src/kernels/program.js";

type Lines = Extract<Layout, { kind: "lines" }>;

const shapes = fc.record({ rows: fc.integer({ min: 1, max: 9 }), columns: fc.integer({ min: 1, max: 9 }) });
const linesOf = (rows: number, columns: number): fc.Arbitrary<Lines> =>
  fc
    .record({
      axis: fc.constantFrom("row" as const, "column" as const),
      part: fc.double({ min: 0, max: 1, noNaN: true }),
    })
    .map(({ axis, part }) => ({ kind: "lines", axis, count: Math.round(part * (axis === "row" ? rows : columns)) }));
const dense = (rows: number, columns: number): fc.Arbitrary<Exclude<Layout, Lines>> =>
  fc.oneof(
    fc.constantFrom({ kind: "element" } as const, { kind: "column" } as const),
    fc.constantFrom(columns, rows * columns).map((size) => ({ kind: "chunk", size }) as const),
    fc.integer({ min: 1, max: rows * columns + 3 }).map((size) => ({ kind: "chunk", size }) as const),
  );
const laidOut = shapes.chain(({ rows, columns }) =>
  fc.record({
    ...{ rows: fc.constant(rows), columns: fc.constant(columns) },
    layout: fc.oneof<fc.Arbitrary<Layout>[]>(dense(rows, columns), linesOf(rows, columns)),
  }),
);
/** A tensor's elements in pieces, as tiles cut them. */
const pieces = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1 });
const cut = (length: number, sizes: readonly number[]): readonly (readonly [start: number, end: number])[] => {
  const out: (readonly [number, number])[] = [];
  for (let start = 0; start < length; ) {
    const end = Math.min(length, start + sizes[out.length % sizes.length]!);
    out.push([start, end]);
    start = end;
  }
  return out;
};

const seed = { seed: 3n, step: 8 };
const chosenOf = (layout: Layout, rows: number, columns: number) =>
  layout.kind === "lines" ? chosenLines(layout, rows * columns, columns, 5n, seed) : undefined;
/** Where a state has the value of an element, straight from what layouts mean; below 0 where it has none. */
const placeOf = (layout: Layout, row: number, column: number, columns: number, chosen?: Int32Array): number => {
  if (layout.kind === "element") return row * columns + column;
  if (layout.kind === "column") return column;
  if (layout.kind === "chunk") return Math.floor((row * columns + column) / layout.size);
  const line = chosen![layout.axis === "row" ? row : column]!;
  if (line < 0) return -1;
  return layout.axis === "row" ? line * columns + column : row * layout.count + line;
};
const elements = (rows: number, columns: number) =>
  Array.from({ length: rows * columns }, (_, i) => ({ row: Math.floor(i / columns), column: i % columns }));

describe("layouts", () => {
  it("have as many values as places", () => {
    fc.assert(
      fc.property(laidOut, ({ rows, columns, layout }) => {
        const chosen = chosenOf(layout, rows, columns);
        const places = elements(rows, columns)
          .map(({ row, column }) => placeOf(layout, row, column, columns, chosen))
          .filter((place) => place >= 0);
        expect(new Set(places).size).toBe(lengthOf(layout, rows * columns, columns));
        expect(places.every((place) => place < lengthOf(layout, rows * columns, columns))).toBe(true);
      }),
    );
  });

  it("spread each value over its elements, and nothing over the others, whatever the pieces", () => {
    fc.assert(
      fc.property(laidOut, pieces, ({ rows, columns, layout }, sizes) => {
        const length = rows * columns;
        const chosen = chosenOf(layout, rows, columns);
        const values = Float32Array.from({ length: lengthOf(layout, length, columns) }, (_, i) => i + 1);
        const out = new Float32Array(length).fill(-1);
        for (const [start, end] of cut(length, sizes))
          spread(layout, values, start, columns, out.subarray(start, end), chosen);
        const expected = elements(rows, columns).map(
          ({ row, column }) => placeOf(layout, row, column, columns, chosen) + 1,
        );
        expect([...out]).toEqual(expected);
      }),
    );
  });

  it("gather elements back to the lines that they came from, and drop the others", () => {
    const lined = shapes.chain(({ rows, columns }) =>
      fc.record({ ...{ rows: fc.constant(rows), columns: fc.constant(columns) }, layout: linesOf(rows, columns) }),
    );
    fc.assert(
      fc.property(lined, pieces, ({ rows, columns, layout }, sizes) => {
        const length = rows * columns;
        const chosen = chosenLines(layout, length, columns, 5n, seed);
        const values = Float32Array.from({ length: lengthOf(layout, length, columns) }, (_, i) => i + 1);
        const out = new Float32Array(length);
        spread(layout, values, 0, columns, out, chosen);
        const back = new Float32Array(values.length);
        for (const [start, end] of cut(length, sizes))
          gather(layout, out.subarray(start, end), start, columns, back, chosen);
        expect(back).toEqual(values);
      }),
    );
  });

  it("sum elements into the value that they share, in float64, and take means over as many as there are", () => {
    const summed = shapes.chain(({ rows, columns }) =>
      fc.record({ ...{ rows: fc.constant(rows), columns: fc.constant(columns) }, layout: dense(rows, columns) }),
    );
    fc.assert(
      fc.property(summed, pieces, ({ rows, columns, layout }, sizes) => {
        const length = rows * columns;
        // Numbers whose sum in fp32 would be another.
        const values = Float32Array.from({ length }, (_, i) => (i % 3 === 0 ? 1e8 : i + 0.1));
        const sums = new Float64Array(lengthOf(layout, length, columns));
        for (const [start, end] of cut(length, sizes))
          accumulate(layout, values.subarray(start, end), start, columns, sums);
        const groups = Array.from(sums, (): number[] => []);
        for (const [i, { row, column }] of elements(rows, columns).entries())
          groups[placeOf(layout, row, column, columns)]!.push(values[i]!);
        const expected = groups.map((group) => group.reduce((sum, value) => sum + value, 0));
        expect([...sums]).toEqual(expected);
        expect([...finished(layout, sums, false, length, columns)]).toEqual(expected.map(Math.fround));
        expect([...finished(layout, sums, true, length, columns)]).toEqual(
          expected.map((sum, i) => Math.fround(sum / groups[i]!.length)),
        );
      }),
    );
  });
});

describe("chosen lines", () => {
  const rows: Lines = { kind: "lines", axis: "row", count: 3 };
  const chosen = (step: number, { tensor = 1n, of = 8n, layout = rows } = {}) =>
    chosenLines(layout, 60, 5, tensor, { seed: of, step });
  const lines = (places: Int32Array) => [...places.keys()].filter((line) => places[line]! >= 0);

  it("are as many as asked for, and have places in the order of the lines", () => {
    for (let step = 0; step < 50; step++) {
      const places = chosen(step);
      expect(places).toHaveLength(12);
      expect([...places].filter((place) => place >= 0)).toEqual([0, 1, 2]);
    }
    const columns: Lines = { kind: "lines", axis: "column", count: 5 };
    expect([...chosen(1, { layout: columns })]).toEqual([0, 1, 2, 3, 4]);
    expect([...chosen(1, { layout: { ...columns, count: 0 } })]).toEqual([-1, -1, -1, -1, -1]);
  });

  it("are a function of step, seed and tensor, and of each of them", () => {
    const sets = (of: (i: number) => Int32Array) =>
      new Set(Array.from({ length: 40 }, (_, i) => String(lines(of(i))))).size;
    expect(chosen(4)).toEqual(chosen(4));
    // Of 220 choices 40 draws give about 36 different ones.
    for (const of of [
      (i: number) => chosen(i),
      (i: number) => chosen(0, { tensor: BigInt(i) }),
      (i: number) => chosen(0, { of: BigInt(i) }),
    ])
      expect(sets(of)).toBeGreaterThan(28);
  });

  it("take every line equally often", () => {
    const draws = 3000;
    const counts = new Float64Array(12);
    for (let step = 0; step < draws; step++) for (const line of lines(chosen(step))) counts[line]!++;
    const deviation = Math.sqrt(draws * (1 / 4) * (3 / 4));
    for (const count of counts) expect(Math.abs(count - draws / 4)).toBeLessThan(3.5 * deviation);
  });
});
