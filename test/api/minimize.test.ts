import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { type MinimizeOptions, minimize, type OptimizerChoice, optimizer, ZerothError } from "../../src/index.js";

const rosenbrock = ({ 0: x = 0, 1: y = 0 }: ArrayLike<number>): number => (1 - x) ** 2 + 100 * (y - x * x) ** 2;
/** Least, 0, at (1, 2, 3, 4). */
const bowl = (x: ArrayLike<number>): number =>
  Array.from(x).reduce((sum, value, i) => sum + (i + 1) * (value - i - 1) ** 2, 0);

const mezo = optimizer("mezo", { learningRate: 1e-2, epsilon: 1e-3 });
const run = (change: Partial<MinimizeOptions> = {}, start: ArrayLike<number> = [0, 0, 0, 0]) =>
  minimize(bowl, start, { optimizer: mezo, steps: 10, ...change });

const choices: readonly OptimizerChoice[] = [
  mezo,
  optimizer("zo-momentum", { learningRate: 1e-3, epsilon: 1e-3 }),
  optimizer("zo-adam", { learningRate: 2e-1, epsilon: 1e-3 }),
  optimizer("hizoo", { learningRate: 1e-2, epsilon: 1e-3 }),
  optimizer("fzoo", { learningRate: 1e-2, epsilon: 1e-3 }),
];

describe.each(choices.map((choice) => [String(choice.name), choice] as const))("%s", (_, choice) => {
  test("finds the bottom of a bowl, and goes down Rosenbrock's valley", async () => {
    const { x, losses } = await minimize(bowl, [0, 0, 0, 0], { optimizer: choice, steps: 400, schedule: "linear" });
    expect(losses[0]).toBeGreaterThan(50);
    expect(bowl(x)).toBeLessThan(0.1);
    const valley = { ...choice, learningRate: (choice.learningRate ?? 0) / 10 };
    const { x: end } = await minimize(rosenbrock, [-1.2, 1], { optimizer: valley, steps: 300 });
    // From 24.2 to the valley's floor, which winds from 4 down.
    expect(rosenbrock(end)).toBeLessThan(4.5);
  });
});

test("tells what it did: values looked at, their mean each step, and where it was after it", async () => {
  const seen: number[] = [];
  const told: { step: number; x: Float32Array; loss: number; evaluations: number }[] = [];
  const start = [0, 0, 0, 0];
  const { x, evaluations, losses } = await minimize(
    async (at) => {
      seen.push(bowl(at));
      return bowl(at);
    },
    start,
    { optimizer: mezo, steps: 3, onStep: (step) => told.push(step) },
  );
  expect(start).toEqual([0, 0, 0, 0]);
  expect(evaluations).toBe(6);
  expect(seen).toHaveLength(6);
  expect(told.map(({ step, evaluations: sofar }) => [step, sofar])).toEqual([
    [1, 2],
    [2, 4],
    [3, 6],
  ]);
  expect(told.map(({ loss }) => loss)).toEqual(losses);
  for (const [i, loss] of losses.entries()) expect(loss).toBeCloseTo((seen[2 * i]! + seen[2 * i + 1]!) / 2, 4);
  expect(told.at(-1)!.x).toEqual(x);
});

test("gives the same bits for the same seed, and others for another", async () => {
  const [one, two, other] = await Promise.all([run({ seed: 5 }), run({ seed: 5 }), run({ seed: 6 })]);
  expect(two).toEqual(one);
  expect(other!.x).not.toEqual(one!.x);
});

test("keeps to its schedule: a rate of 0 at the end moves nothing", async () => {
  const places: Float32Array[] = [];
  await run({ schedule: "linear", steps: 50, onStep: ({ x }) => places.push(x) });
  const moved = (i: number): number => Math.hypot(...places[i]!.map((value, k) => value - places[i - 1]![k]!));
  expect(moved(49)).toBeLessThan(moved(1));
});

test("refuses a start or a shape that makes no sense, by name", async () => {
  for (const [change, start, words] of [
    [{}, [0, Number.NaN, 0, 0], "element 1 is NaN"],
    [{}, [0, 0, Number.NEGATIVE_INFINITY, 0], "element 2 is -Infinity"],
    [{}, [0, 0, 0, 1e39], "element 3 is 1e+39: it must be finite in fp32"],
    [{}, [], "no elements"],
    [{ shape: [2, 3] }, [0, 0, 0, 0], "[2,3] does not have the 4 elements"],
    [{ optimizer: { ...mezo, learningRate: Number.NaN } }, [0, 0, 0, 0], "learning-rate"],
    [{ optimizer: { ...mezo, hyperparameters: { smoothing: 1 } } }, [0, 0, 0, 0], "smoothing"],
    [{ steps: 0 }, [0, 0, 0, 0], "steps"],
  ] as const) {
    const refused = await run(change, start).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(ZerothError);
    expect(refused).toMatchObject({ kind: "usage", message: expect.stringContaining(words) });
  }
});

test("ends at a value that is none, and says which and where; what the function throws comes through", async () => {
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, 1e39]) {
    let count = 0;
    const refused = await minimize(() => (++count === 4 ? bad : 1), [0], { optimizer: mezo, steps: 9 }).catch(
      (error: unknown) => error,
    );
    expect(refused).toBeInstanceOf(ZerothError);
    expect((refused as ZerothError).message).toMatch(/^Step 2 was refused: a value of the function, (NaN|Infinity)/);
    expect(count).toBe(4);
  }
  const thrower = (): number => {
    throw new RangeError("no such place");
  };
  await expect(minimize(thrower, [0], { optimizer: mezo })).rejects.toThrow(new RangeError("no such place"));
});

test("the example of docs/lab.md is examples/minimize.mjs, and runs", () => {
  const root = new URL("../../", import.meta.url);
  const example = readFileSync(new URL("examples/minimize.mjs", root), "utf8");
  const [, block] = /```js\n([\s\S]*?)```/.exec(readFileSync(new URL("docs/lab.md", root), "utf8")) ?? [];
  expect(block).toBe(example);
  const { stdout, stderr } = spawnSync(process.execPath, [fileURLToPath(new URL("examples/minimize.mjs", root))], {
    encoding: "utf8",
  });
  const [, said] = /\/\/ (.*)\n$/.exec(example) ?? [];
  expect(stdout, stderr).toBe(`${said}\n`);
}, 120_000);
