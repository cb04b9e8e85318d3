import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { batchOrder, drawShots, splitPerClass, splitRows } from "../../src/data/split.js";
import { ZerothError } from "../../src/errors.js";

describe("splitRows", () => {
  it("takes train + dev from one permutation; dev is the sample's tail", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 400 }),
        fc.nat(300),
        fc.nat(300),
        fc.bigInt(0n, 9n),
        (count, trainRows, devRows, seed) => {
          fc.pre(Math.min(count, trainRows + devRows) > devRows);
          const { train, dev } = splitRows(count, { trainRows, devRows, seed });
          const sample = [...train, ...dev];
          expect(dev).toHaveLength(devRows);
          expect(sample).toHaveLength(Math.min(count, trainRows + devRows));
          expect(new Set(sample).size).toBe(sample.length);
          expect(sample.every((i) => Number.isInteger(i) && i >= 0 && i < count)).toBe(true);
          // The head of one permutation: asking for everything begins with the same sample.
          const all = splitRows(count, { trainRows: count, devRows: 0, seed }).train;
          expect(all.slice(0, sample.length)).toEqual(sample);
          expect([...all].sort((a, b) => a - b)).toEqual(all.map((_, i) => i));
        },
      ),
    );
  });

  it.each([
    ["SST-2", 67_349, 1000, 500, 1000, 500],
    ["CB", 250, 1000, 100, 150, 100],
    ["COPA", 400, 1000, 100, 300, 100],
    ["WSC", 554, 1000, 500, 54, 500],
  ])("%s is clipped as MeZO's script clips it", (_, count, trainRows, devRows, train, dev) => {
    const made = splitRows(count, { trainRows, devRows, seed: 0n });
    expect([made.train.length, made.dev.length]).toEqual([train, dev]);
  });

  it("by default a tenth is dev, at most 500, and the rest is trained on", () => {
    expect(splitRows(300, { seed: 0n })).toMatchObject({ train: { length: 270 }, dev: { length: 30 } });
    expect(splitRows(20_000, { seed: 0n })).toMatchObject({ train: { length: 19_500 }, dev: { length: 500 } });
    expect(splitRows(5, { seed: 0n })).toMatchObject({ train: { length: 5 }, dev: { length: 0 } });
  });

  it("depends on the seed, and refuses to leave nothing to train on", () => {
    expect(splitRows(100, { seed: 0n })).not.toEqual(splitRows(100, { seed: 1n }));
    expect(() => splitRows(10, { devRows: 10, seed: 0n })).toThrow(/No row is left to train on: the file holds 10/);
    expect(() => splitRows(10, { trainRows: 0, devRows: 5, seed: 0n })).toThrow(/No row is left/);
  });
});

describe("splitPerClass", () => {
  const classes = ["no", "yes", "maybe"];
  const rows = fc.record({
    labels: fc.array(fc.nat(2), { minLength: 20, maxLength: 120, size: "max" }),
    perClass: fc.integer({ min: 1, max: 10 }),
    seed: fc.bigInt(0n, 99n),
  });
  const countsOf = (labels: readonly number[]) => classes.map((_, c) => labels.filter((label) => label === c).length);

  it("takes as many rows of every class to train on and as dev rows, none twice, or says how many there are", () => {
    let [made, refused] = [0, 0];
    fc.assert(
      fc.property(rows, ({ labels, perClass, seed }) => {
        const split = () => splitPerClass(labels, classes, { perClass, seed });
        const counts = countsOf(labels);
        if (Math.min(...counts) < 2 * perClass) {
          refused++;
          expect(split).toThrow(ZerothError);
          expect(split).toThrow(
            `--per-class ${perClass} takes ${2 * perClass} rows of every class, half of them dev rows, and the file has: no ${counts[0]}, yes ${counts[1]}, maybe ${counts[2]}.`,
          );
          return;
        }
        made++;
        const { train, dev } = split();
        const each = classes.map(() => perClass);
        expect(countsOf(train.map((index) => labels[index]!))).toEqual(each);
        expect(countsOf(dev.map((index) => labels[index]!))).toEqual(each);
        expect(new Set([...train, ...dev]).size).toBe(2 * each.length * perClass);
        expect(split()).toEqual({ train, dev });
      }),
      { numRuns: 100 },
    );
    expect(Math.min(made, refused)).toBeGreaterThan(10);
  });

  it("is of one permutation: fewer a class are the first of more, and another seed takes others", () => {
    const labels = Array.from({ length: 300 }, (_, i) => i % 3);
    const of = (perClass: number, seed = 0n) => splitPerClass(labels, classes, { perClass, seed });
    const whole = splitRows(300, { trainRows: 300, devRows: 0, seed: 0n }).train;
    for (const label of [0, 1, 2]) {
      const order = whole.filter((index) => labels[index] === label);
      const own = (indices: readonly number[]) => indices.filter((index) => labels[index] === label);
      expect(own(of(16).train)).toEqual(order.slice(0, 16));
      expect(own(of(16).dev)).toEqual(order.slice(16, 32));
    }
    expect(of(16, 13n)).not.toEqual(of(16, 21n));
  });
});

describe("batchOrder", () => {
  it("is the epochs' permutations end to end, a function of the step alone", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 90 }), (count, batchSize) => {
        const batch = batchOrder(count, batchSize, 3n);
        const steps = Math.ceil((3 * count) / batchSize);
        const stream = Array.from({ length: steps }, (_, step) => batch(step)).flat();
        for (let epoch = 0; epoch < 3; epoch++) {
          const order = stream.slice(epoch * count, (epoch + 1) * count);
          expect([...order].sort((a, b) => a - b)).toEqual(order.map((_, i) => i));
        }
        // Another instance, asked for one late step only, or backwards.
        expect(batchOrder(count, batchSize, 3n)(steps - 1)).toEqual(batch(steps - 1));
        expect(batch(0)).toEqual(stream.slice(0, batchSize));
      }),
    );
  });

  it("epochs differ, seeds differ, and the order is not the split's", () => {
    const epoch = (seed: bigint, n: number) => batchOrder(50, 50, seed)(n);
    expect(epoch(0n, 0)).not.toEqual(epoch(0n, 1));
    expect(epoch(0n, 0)).not.toEqual(epoch(1n, 0));
    expect(epoch(0n, 0)).not.toEqual(splitRows(50, { trainRows: 50, devRows: 0, seed: 0n }).train);
  });
});

describe("drawShots", () => {
  it("draws distinct rows, as many as there are", () => {
    expect(new Set(drawShots(100, 32, 0n)).size).toBe(32);
    expect(drawShots(5, 32, 0n)).toHaveLength(5);
  });
});
