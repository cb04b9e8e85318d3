import type { Estimator } from "./estimator.js";

export interface QuerySchedule {
  readonly alpha: number;
  readonly beta: number;
  /** Q_max. */
  readonly most: number;
}

/** More than powers differ by between engines, so that all of them count the same. */
const HAIR = 1e-9;

/** AdaZeta's queries of an epoch e (from 0): min(⌊α·e^β⌋, Q_max), one at least (arXiv 2406.18060). */
export const queriesAt = (epoch: number, { alpha, beta, most }: QuerySchedule): number =>
  Math.max(1, Math.min(Math.floor(alpha * epoch ** beta + HAIR), most));

/** An estimator whose number of queries grows with the epochs. */
export const scheduled = <M>(inner: Estimator<M>, schedule: QuerySchedule): Estimator<M> => ({
  ...inner,
  name: `${inner.name}, growing queries`,
  cost: `${inner.cost}, q growing to ${schedule.most}`,
  evaluations: (_, blocks) => inner.evaluations(queriesAt(Number.POSITIVE_INFINITY, schedule), blocks),
  step: (context) => inner.step({ ...context, queries: queriesAt(context.epoch, schedule) }),
});
