import { minimize, VARIABLES } from "../../src/api/minimize.js";
import { resolveSettings } from "../../src/api/settings.js";
import type { OptimizerChoice } from "../../src/api/types.js";
import { variablesFor } from "../../src/api/variables.js";
import type { Point } from "../../src/estimator/estimator.js";
import { floatsOf } from "../../src/kernels/arena.js";
import { type OptimizerName, optimizers } from "../../src/optimizer/optimizers.js";
import type { Method, Placement } from "../../src/peft/method.js";
import type { PerturbationName } from "../../src/perturbation/perturbations.js";
import { learningRateAt, type ScheduleKind } from "../../src/train/schedule.js";
import { takeStep } from "../../src/train/step.js";
import { dense, lossOf, type Quadratic } from "../estimator/quadratic.js";

export const names = Object.keys(optimizers) as OptimizerName[];

/** A tensor of what is trained. */
export interface Part {
  readonly name: string;
  readonly shape: readonly number[];
  readonly layer?: number;
}
export const sizeOf = ({ shape }: Pick<Part, "shape">): number => shape.reduce((size, dim) => size * dim, 1);

export interface At {
  readonly step: number;
  readonly rows: "batch" | "anchor";
}

/** A function of the elements of some tensors, end to end. */
export interface Problem {
  readonly parts: readonly Part[];
  readonly start: readonly number[];
  loss(x: ArrayLike<number>, at: At): number;
}

const startOf = (d: number): number[] => Array.from({ length: d }, (_, i) => Math.cos(i));
export const quadraticOf = (q: Quadratic, parts: readonly Part[]): Problem => ({
  parts,
  start: startOf(q.b.length),
  loss: (x) => lossOf(q, x),
});

/** The variables of `minimize`. */
const x = (...shape: number[]): readonly Part[] => [{ name: VARIABLES, shape }];
/** What a model has: a matrix in no block, and blocks of matrices, one with a vector beside. */
const model: readonly Part[] = [
  { name: "embed.weight", shape: [2, 3] },
  { name: "blocks.0.weight", shape: [2, 2], layer: 0 },
  { name: "blocks.0.bias", shape: [2], layer: 0 },
  ...[1, 2, 3].map((layer) => ({ name: `blocks.${layer}.weight`, shape: [2, 2], layer })),
];

/** The shared problems: one quadratic as a matrix, as a vector, and in the tensors of a model. */
export const problems = {
  matrix: quadraticOf(dense(12), x(3, 4)),
  vector: quadraticOf(dense(12), x(12)),
  model: quadraticOf(dense(24), model),
} satisfies Readonly<Record<string, Problem>>;

/** A run of an optimizer on a problem. */
export interface Setup {
  readonly problem: Problem;
  readonly optimizer: OptimizerName;
  readonly perturbation: PerturbationName;
  readonly epsilon: number;
  readonly queries: number;
  readonly learningRate: number;
  readonly schedule: ScheduleKind;
  readonly warmup: number;
  readonly steps: number;
  readonly seed: number;
  readonly hyperparameters: Readonly<Record<string, number>>;
  readonly choice: Pick<OptimizerChoice, "subspace" | "estimator" | "blocks" | "sweep">;
  readonly placement: Placement;
}

/** A setup of an optimizer with what it is published with, but for the numbers that these problems want. */
export const setupOf = (optimizer: OptimizerName, change: Partial<Setup> = {}): Setup => ({
  ...{ problem: problems.matrix, optimizer, perturbation: optimizers[optimizer].noises[0] },
  ...{ epsilon: 0.25, queries: 1, learningRate: 0.02, schedule: "constant", warmup: 0, steps: 5, seed: 21 },
  ...{ hyperparameters: {}, choice: {}, placement: "copies" },
  ...change,
});

/** Whether the optimizer may train a model's own weights, which is what `minimize` does. */
export const trainsAll = (optimizer: OptimizerName): boolean =>
  optimizers[optimizer].configure().refuses({ kind: "full", freezeA: false }) === undefined;

/** The run's settings, checked. */
const settingsOf = (setup: Setup) => {
  const { optimizer, perturbation, epsilon, queries, learningRate, schedule, warmup, steps, seed, hyperparameters } =
    setup;
  const said = { optimizer, perturbation, epsilon, queries, learningRate, schedule, warmup, steps, seed };
  const method = trainsAll(optimizer) ? { method: "full" } : { method: "lora", freezeA: true };
  return resolveSettings({ ...said, ...method, batchSize: 16, hyperparameters, ...setup.choice }, 1);
};

/** The variables of a run with everything that moves them, and a look inside: what trains a model, without the model. */
export const openLab = (setup: Setup) => {
  const { problem, placement } = setup;
  const { parts, start } = problem;
  const settings = settingsOf(setup);
  const whole: Method = {
    ...{ kind: settings.method, placement, firstLayer: 0 },
    tensors: parts.map((part) => ({ ...part, initial: { kind: "weights" } })),
  };
  const layers = new Set(parts.flatMap(({ layer }) => layer ?? [])).size;
  const { stepper, plan, variables, trainables, driver } = variablesFor(settings, whole, Math.max(1, layers));
  const { memory } = variables;
  let from = 0;
  for (const part of parts) {
    floatsOf(memory.weights.get(part.name)!).set(start.slice(from, from + sizeOf(part)));
    from += sizeOf(part);
  }
  memory.mark();

  /** The elements of all tensors at a point. */
  const at = (point: Point): Float32Array => {
    const moved = trainables.at([point]);
    const out = new Float32Array(start.length);
    let from = 0;
    for (const { name } of parts) {
      const values = floatsOf(moved.get(name) ?? memory.weights.get(name)!);
      out.set(values, from);
      from += values.length;
    }
    return out;
  };
  const slabs = () => [
    ...memory.weights,
    ...memory.slots.flatMap(({ name, tensor }) =>
      tensor.states.map((slab, i) => [`${name}#${plan.program.states[i]}`, slab] as const),
    ),
  ];
  const rate = { kind: settings.schedule, learningRate: settings.learningRate, warmup: settings.warmup };
  return {
    ...{ stepper, variables, plan, at },
    /** The live weights. */
    weights: () => {
      trainables.settle();
      return at([]);
    },
    /** Copies of every tensor and state, by name. */
    held: (): ReadonlyMap<string, Float32Array> => {
      trainables.settle();
      return new Map(slabs().map(([name, slab]) => [name, floatsOf(slab).slice()]));
    },
    write: (values: ReadonlyMap<string, Float32Array>) => {
      trainables.settle();
      for (const [name, slab] of slabs()) floatsOf(slab).set(values.get(name)!);
    },
    /** Takes step `step`, on the problem's loss or another. */
    step: (step: number, estimatorMemory: unknown, loss: Problem["loss"] = problem.loss) =>
      takeStep(
        stepper,
        step,
        learningRateAt(step, { ...rate, steps: setup.steps }),
        driver(async (points, rows) => points.map((point) => loss(at(point), { step, rows }))),
        estimatorMemory,
      ),
  };
};
export type Lab = ReturnType<typeof openLab>;

/** The weights after each step, by the lab. */
export const walked = async (setup: Setup): Promise<number[][]> => {
  const lab = openLab(setup);
  const after: number[][] = [];
  let memory: unknown = lab.stepper.estimator.initial;
  for (let step = 0; step < setup.steps; step++) {
    ({ memory } = await lab.step(step, memory));
    after.push(Array.from(lab.weights()));
  }
  return after;
};

/** The weights after each step, by `minimize`. */
export const minimised = async (setup: Setup): Promise<number[][]> => {
  const { problem, optimizer, perturbation, epsilon, queries, learningRate, hyperparameters, choice, ...rest } = setup;
  const after: number[][] = [];
  await minimize((at, when) => problem.loss(at, when), Float32Array.from(problem.start), {
    ...rest,
    optimizer: { name: optimizer, perturbation, epsilon, queries, learningRate, hyperparameters, ...choice },
    shape: problem.parts[0]!.shape,
    onStep: ({ x: moved }) => after.push(Array.from(moved)),
  });
  return after;
};

/** The weights after each step: by `minimize`, where the problem has one tensor and the optimizer may train it. */
export const taken = (setup: Setup): Promise<number[][]> =>
  setup.problem.parts.length === 1 && trainsAll(setup.optimizer) ? minimised(setup) : walked(setup);

/** The bits of numbers, so that 0 and −0 differ and NaN equals itself. */
export const bitsOf = (values: ArrayLike<number>): number[] =>
  Array.from(new Int32Array(Float32Array.from(values).buffer));

export const farthest = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);
