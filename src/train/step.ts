import type { Engine } from "../engine/engine.js";
import type { Move } from "../engine/protocol.js";
import type { Estimator, Point, Request, Step, Term, Update } from "../estimator/estimator.js";
import type { Configured, Scalars } from "../optimizer/optimizer.js";
import type { StepRecord } from "./journal.js";

/** What takes a step, apart from the data: pure functions and numbers, the same live and in a replay. */
export interface Stepper {
  readonly estimator: Estimator;
  readonly optimizer: Pick<Configured, "scalars" | "bounded">;
  readonly seed: bigint;
  readonly epsilon: number;
  readonly queries: number;
  /** Blocks of a block-wise sweep; 1 without. */
  readonly blocks: number;
  /** Steps of the whole run. */
  readonly steps: number;
  readonly batchSize: number;
  readonly trainRows: number;
  /** Steps between two refreshes of a low-rank subspace; 0 where there is none. */
  readonly refreshEvery: number;
}

/** Whatever answers an estimator's requests while a step is taken. */
export interface Driver {
  losses(points: readonly Point[], rows: "batch" | "anchor"): Promise<readonly number[]>;
  update(update: Update, scalars: Scalars, step: number): Promise<void>;
  /** Folds the subspace's core into the weights and draws another. */
  refresh(step: number): Promise<void>;
}

/** A driver that takes a step in an engine. */
export const driving = (engine: Pick<Engine, "update" | "refresh">, losses: Driver["losses"]): Driver => ({
  losses,
  update: (update, scalars, step) => engine.update({ update, scalars, step }),
  refresh: (step) => engine.refresh(step),
});

const contextOf = (stepper: Stepper, step: number, learningRate: number, memory: unknown): Step => {
  const { seed, epsilon, queries, blocks, batchSize, trainRows, optimizer } = stepper;
  return {
    ...{ step, epsilon, queries, blocks, learningRate, memory },
    epoch: Math.floor((step * batchSize) / Math.max(1, trainRows)),
    key: (query) => ({ seed, stream: "noise", step, query }),
    bounded: optimizer.bounded,
  };
};

const fp32 = (terms: readonly Term[]): readonly Term[] =>
  terms.map((term) => ({ ...term, scale: Math.fround(term.scale) }));
const finite = (numbers: readonly number[]): boolean => numbers.every((number) => Number.isFinite(Math.fround(number)));
const coefficients = ({ gradient, curvature }: Update): readonly number[] =>
  [...gradient, ...curvature].map(({ scale }) => scale);
const namesOf = (scalars: Scalars): readonly string[] =>
  Object.keys(scalars)
    .filter((name) => name !== "learningRate")
    .sort();

const refreshes = ({ refreshEvery }: Stepper, step: number): boolean =>
  refreshEvery > 0 && step > 0 && step % refreshEvery === 0;

/** A step that was taken. */
export interface Taken {
  readonly record: StepRecord;
  /** What the estimator remembers for the next step. */
  readonly memory: unknown;
  /** The gradient's coefficients of its updates, q of them for most estimators: the mean of their sum is the projected gradient's. */
  readonly gradient: readonly number[];
}

/**
 * Takes step `step` (counted from 0): drives the estimator, hands its updates on with every number rounded to fp32, and
 * returns the record that replays it. The record's numbers are the learning rate, then what `fix` and `update` answered, an update's
 * scalars by name after its coefficients. A step ends at its first number that is not finite in fp32, and is recorded as
 * refused: it makes no update (but those of a sweep's blocks before), and leaves the memory as it was.
 */
export const takeStep = async (
  stepper: Stepper,
  step: number,
  rate: number,
  driver: Driver,
  memory: unknown = stepper.estimator.initial,
): Promise<Taken> => {
  if (refreshes(stepper, step)) await driver.refresh(step);
  const learningRate = Math.fround(rate);
  const generator = stepper.estimator.step(contextOf(stepper, step, learningRate, memory));
  const losses: number[] = [];
  const numbers: number[] = [learningRate];
  const gradient: number[] = [];
  let refused = false;

  const answers = {
    async evaluate({ points, rows = "batch" }: Extract<Request, { kind: "evaluate" }>) {
      const answered = await driver.losses(points, rows);
      losses.push(...answered);
      refused ||= !finite(answered);
      return answered;
    },
    async fix({ numbers: given }: Extract<Request, { kind: "fix" }>) {
      const fixed = given.map(Math.fround);
      numbers.push(...fixed);
      refused ||= !finite(fixed);
      return fixed;
    },
    async update({ update: { block, ...terms } }: Extract<Request, { kind: "update" }>) {
      const update: Update = {
        gradient: fp32(terms.gradient),
        curvature: fp32(terms.curvature),
        ...(block === undefined ? {} : { block }),
      };
      const { steps, batchSize } = stepper;
      const exact = stepper.optimizer.scalars({ learningRate, step, steps, batchSize, update });
      const scalars = Object.fromEntries(Object.entries(exact).map(([name, value]) => [name, Math.fround(value)]));
      const made = [...coefficients(update), ...namesOf(scalars).map((name) => scalars[name] ?? Number.NaN)];
      refused ||= !finite(made);
      numbers.push(...made);
      gradient.push(...update.gradient.map(({ scale }) => scale));
      if (!refused) await driver.update(update, { learningRate, ...scalars }, step);
      return coefficients(update);
    },
  };
  let next = generator.next();
  while (!next.done && !refused) {
    const request = next.value;
    const answer =
      request.kind === "evaluate"
        ? await answers.evaluate(request)
        : request.kind === "fix"
          ? await answers.fix(request)
          : await answers.update(request);
    next = generator.next(answer);
  }
  return {
    record: { step, refused, losses: Float32Array.from(losses), numbers: Float32Array.from(numbers) },
    memory: next.done && !refused ? next.value : memory,
    gradient,
  };
};

/**
 * A recorded step as moves over the weights: the walks that its evaluations made, which round in place, and its updates with
 * the journal's numbers. A refused step ended at its first number that is not finite.
 */
export const movesOf = (
  stepper: Stepper,
  record: StepRecord,
  memory: unknown = stepper.estimator.initial,
): { readonly moves: readonly Move[]; readonly memory: unknown } => {
  const { step } = record;
  const numbers = record.numbers.values();
  const take = (): number => {
    const number = numbers.next();
    if (number.done) throw new RangeError("a journal record has fewer numbers than its step needs");
    return number.value;
  };
  const learningRate = take();
  const generator = stepper.estimator.step(contextOf(stepper, step, learningRate, memory));
  const moves: Move[] = refreshes(stepper, step) ? [{ refresh: step }] : [];
  let taken = 0;
  let refused = false;
  const answer = (request: Request): readonly number[] => {
    if (request.kind === "fix") {
      const fixed = request.numbers.map(take);
      refused ||= !finite(fixed);
      return fixed;
    }
    if (request.kind === "evaluate") {
      const { points } = request;
      moves.push({ visit: points });
      taken += points.length;
      const losses = Array.from(record.losses.subarray(taken - points.length, taken));
      refused ||= !finite(losses);
      return losses;
    }
    const { gradient, curvature, block } = request.update;
    const fill = (terms: readonly Term[]) => terms.map((term) => ({ ...term, scale: take() }));
    const update: Update = {
      gradient: fill(gradient),
      curvature: fill(curvature),
      ...(block === undefined ? {} : { block }),
    };
    const { steps, batchSize } = stepper;
    const names = namesOf(stepper.optimizer.scalars({ learningRate, step, steps, batchSize, update }));
    const scalars = { learningRate, ...Object.fromEntries(names.map((name) => [name, take()])) };
    refused ||= !finite([...coefficients(update), ...Object.values(scalars)]);
    if (!refused) moves.push({ update, scalars, step });
    return coefficients(update);
  };
  let next = generator.next();
  while (!next.done && !refused) next = generator.next(answer(next.value));
  // Back to the live weights: the step that follows starts there.
  return { moves: [...moves, { visit: [[]] }], memory: next.done && !refused ? next.value : memory };
};

/** The mean loss of a step's evaluations: what its line shows. */
export const lossOf = ({ losses }: StepRecord): number => losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
