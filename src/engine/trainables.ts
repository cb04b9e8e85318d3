import type { Point, Term, Update } from "../estimator/estimator.js";
import { floatsOf, part, type Slab } from "../kernels/arena.js";
import type { KernelPool } from "../kernels/pool.js";
import type { Job, Op } from "../kernels/walk.js";
import type { Scalars } from "../optimizer/optimizer.js";
import type { Key } from "../random/key.js";

/** A trainable tensor where it lives: its weights, its optimizer states, and the id that keys its noise. */
export interface Slot {
  readonly name: string;
  readonly id: bigint;
  readonly shape: readonly number[];
  readonly weight: Slab;
  readonly states: readonly Slab[];
  /** Room for perturbed copies, as many as points are visited at a time; none where weights are perturbed in place. */
  readonly copies: Slab;
}

/** The trainable weights as the runtime sees them, at any point and after any number of updates. */
export interface Trainables {
  /** How many points the weights can be at together. */
  readonly most: number;
  /** Weights at `points`, at most `most` of them, by name: [points, …] where there may be several. Valid until the next call. */
  at(points: readonly Point[]): ReadonlyMap<string, Slab>;
  /** Walks to `point` without evaluating there: what a replay does, since in-place walks round. */
  visit(point: Point): void;
  /** Back to the live weights, then the optimizer's rule. */
  update(update: Update, scalars: Scalars): void;
  /** Puts the live weights themselves into every slot, everything pending applied. */
  settle(): void;
  /** Forgets where the weights are and what is pending: their slots are about to be written anew. */
  forget(): void;
}

const name = ({ seed, stream, step, query }: Key): string => `${seed}/${stream}/${step}/${query}`;

/**
 * The walk from one point to another, a defined sequence: the keys of `from` in their order, then the new ones of `to`,
 * each moved by the difference of its scales. +ε → −ε is one addition of −2ε.
 */
export const walkBetween = (from: Point, to: Point): readonly Op[] => {
  const fp32 = ({ scale }: Term) => Math.fround(scale);
  const targets = new Map(to.map((term) => [name(term.key), term]));
  const left = from.map((term): Op => {
    const target = targets.get(name(term.key));
    return { kind: "perturb", key: term.key, scale: (target === undefined ? 0 : fp32(target)) - fp32(term) };
  });
  const known = new Set(from.map((term) => name(term.key)));
  const fresh = to.filter((term) => !known.has(name(term.key)));
  const all = [...left, ...fresh.map((term): Op => ({ kind: "perturb", key: term.key, scale: fp32(term) }))];
  return all.filter((op) => op.kind !== "perturb" || op.scale !== 0);
};

/** One-dimensional tensors (biases, norms) read the exempt scalars. */
const jobsOf =
  (exempt: Scalars) =>
  (slots: readonly Slot[], ops: readonly Op[]): readonly Job[] => {
    const exempted = ops.map(
      (op): Op => (op.kind === "update" ? { ...op, scalars: { ...op.scalars, ...exempt } } : op),
    );
    return slots.map(({ id, weight, states, shape }) => ({
      tensor: id,
      weight,
      states,
      ops: shape.length <= 1 ? exempted : ops,
    }));
  };

/**
 * Perturbed in place: no second copy of the weights. Operations queue up and run in one pass over memory before the next
 * evaluation, so that restore, update and the next step's +ε share a pass; the sequence on each element stays the same.
 */
export const inPlace = (slots: readonly Slot[], pool: KernelPool, exempt: Scalars): Trainables => {
  const jobs = jobsOf(exempt);
  const weights = new Map(slots.map((slot) => [slot.name, slot.weight]));
  /** A long replay is applied in stretches, so that the queue stays small. */
  const LONGEST_QUEUE = 256;
  let here: Point = [];
  let queue: Op[] = [];
  const flush = () => {
    if (queue.length === 0) return;
    const ops = queue;
    queue = [];
    pool.walk(jobs(slots, ops));
  };
  const visit = (point: Point) => {
    queue.push(...walkBetween(here, point));
    here = point;
    if (queue.length >= LONGEST_QUEUE) flush();
  };
  return {
    most: 1,
    visit,
    at([point = []]) {
      visit(point);
      flush();
      return weights;
    },
    update({ gradient, curvature }, scalars) {
      visit([]);
      queue.push({ kind: "update", gradient, curvature, scalars });
    },
    settle() {
      visit([]);
      flush();
    },
    forget() {
      here = [];
      queue = [];
    },
  };
};

/**
 * Perturbed in copies: the live weights only ever change by updates, so nothing rounds. For small sets.
 *
 * @param most points at a time: what the slots have room for
 */
export const inCopies = (slots: readonly Slot[], pool: KernelPool, exempt: Scalars, most: number): Trainables => {
  const jobs = jobsOf(exempt);
  const live = new Map(slots.map((slot) => [slot.name, slot.weight]));
  return {
    most,
    visit: () => {},
    at(points) {
      if (points.length === 1 && points[0]?.length === 0) return live;
      const copies = points.flatMap((point, i) => {
        const moved = slots.map((slot) => {
          const { length } = slot.weight;
          const weight = part(slot.copies, i * length, length);
          floatsOf(weight).set(floatsOf(slot.weight));
          return { ...slot, weight };
        });
        return jobs(moved, walkBetween([], point));
      });
      pool.walk(copies);
      return new Map(slots.map((slot) => [slot.name, part(slot.copies, 0, points.length * slot.weight.length)]));
    },
    update({ gradient, curvature }, scalars) {
      pool.walk(jobs(slots, [{ kind: "update", gradient, curvature, scalars }]));
    },
    settle: () => {},
    forget: () => {},
  };
};
