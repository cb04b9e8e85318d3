import type { Move } from "../engine/protocol.js";
import type { Estimator, Point, Step, Term, Update } from "../estimator/estimator.js";
import type { Configured, Scalars } from "../optimizer/optimizer.js";
import type { StepRecord } from "./journal.js";

/** What takes a step, apart from the data: pure functions and numbers, the same live and in a replay. */
export interface Stepper {
  readonly estimator: Estimator;
  readonly optimizer: Configured;
  readonly seed: bigint;
  readonly epsilon: number;
  readonly queries: number;
}

/** Whatever answers an estimator's requests while a step is taken. */
export interface Driver {
  losses(points: readonly Point[]): Promise<readonly number[]>;
  update(update: Update, scalars: Scalars): Promise<void>;
}

const contextOf = ({ seed, epsilon, queries }: Stepper, step: number): Step => ({
  epsilon,
  queries,
  key: (query) => ({ seed, stream: "noise", step, query }),
});

const rounded = (terms: readonly Term[]): readonly Term[] =>
  terms.map(({ key, scale }) => ({ key, scale: Math.fround(scale) }));

/** An update and its scalars as the journal's numbers: gradient, curvature, scalars by name. */
const numbersOf = ({ gradient, curvature }: Update, scalars: Scalars): readonly number[] => [
  ...gradient.map(({ scale }) => scale),
  ...curvature.map(({ scale }) => scale),
  ...Object.keys(scalars)
    .sort()
    .map((name) => scalars[name] ?? Number.NaN),
];

/** The same shape as `update` and `scalars`, its numbers taken from a record. */
const withNumbers = (
  update: Update,
  scalars: Scalars,
  numbers: Iterator<number>,
): { update: Update; scalars: Scalars } => {
  const take = (): number => {
    const next = numbers.next();
    if (next.done) throw new RangeError("a journal record has fewer numbers than its step needs");
    return next.value;
  };
  const fill = (terms: readonly Term[]) => terms.map(({ key }) => ({ key, scale: take() }));
  const gradient = fill(update.gradient);
  const curvature = fill(update.curvature);
  const names = Object.keys(scalars).sort();
  return { update: { gradient, curvature }, scalars: Object.fromEntries(names.map((name) => [name, take()])) };
};

/**
 * Takes step `step` (counted from 0): drives the estimator, hands its updates on with every number rounded to fp32, and
 * returns the record that replays it. A step with a loss that is not finite makes no update and is recorded as refused.
 */
export const takeStep = async (
  stepper: Stepper,
  step: number,
  learningRate: number,
  driver: Driver,
): Promise<StepRecord> => {
  const generator = stepper.estimator.step(contextOf(stepper, step));
  const losses: number[] = [];
  const numbers: number[] = [];
  let refused = false;
  let request = generator.next();
  while (!request.done) {
    if (request.value.kind === "evaluate") {
      const answered = await driver.losses(request.value.points);
      losses.push(...answered);
      refused ||= !answered.every(Number.isFinite);
      request = generator.next(answered);
    } else {
      const update = {
        gradient: rounded(request.value.update.gradient),
        curvature: rounded(request.value.update.curvature),
      };
      const exact = stepper.optimizer.scalars(Math.fround(learningRate), update);
      const scalars = Object.fromEntries(Object.entries(exact).map(([name, value]) => [name, Math.fround(value)]));
      const made = numbersOf(update, scalars);
      refused ||= !made.every(Number.isFinite);
      numbers.push(...made);
      if (!refused) await driver.update(update, scalars);
      request = generator.next([]);
    }
  }
  return { step, refused, losses: Float32Array.from(losses), numbers: Float32Array.from(numbers) };
};

/**
 * A recorded step as moves over the weights: the walks that its evaluations made, which round in place, and its updates with
 * the journal's numbers. A refused step walked but did not update.
 */
export const movesOf = (stepper: Stepper, record: StepRecord): readonly Move[] => {
  const generator = stepper.estimator.step(contextOf(stepper, record.step));
  const moves: Move[] = [];
  const numbers = record.numbers.values();
  let taken = 0;
  let request = generator.next();
  while (!request.done) {
    if (request.value.kind === "evaluate") {
      const { points } = request.value;
      moves.push({ visit: points });
      request = generator.next(Array.from(record.losses.subarray(taken, taken + points.length)));
      taken += points.length;
    } else {
      const { update } = request.value;
      const shape = stepper.optimizer.scalars(0, update);
      if (!record.refused) moves.push({ ...withNumbers(update, shape, numbers) });
      request = generator.next([]);
    }
  }
  // Back to the live weights: the step that follows starts there.
  return [...moves, { visit: [[]] }];
};

/** Mean over the queries of the projected gradients, and the mean loss: what a step line shows. */
export const summaryOf = (record: StepRecord, queries: number): { loss: number; projectedGradient: number } => {
  const mean = record.losses.reduce((sum, loss) => sum + loss, 0) / record.losses.length;
  // Gradient coefficients carry 1/q each, so their sum is the mean.
  const projectedGradient = record.numbers.subarray(0, queries).reduce((sum, scale) => sum + scale, 0);
  return { loss: mean, projectedGradient };
};
