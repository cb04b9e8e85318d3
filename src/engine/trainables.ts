import type { Point, Term } from "../estimator/estimator.js";
import { floatsOf, part, type Slab } from "../kernels/arena.js";
import type { KernelPool } from "../kernels/pool.js";
import type { Job, Op } from "../kernels/program.js";
import type { Key } from "../random/key.js";
import type { Slot } from "./memory.js";
import type { ProgramPlan, UpdateCall } from "./protocol.js";
import { nameOf, type Reach, reachOf } from "./reach.js";

/** The trainable weights as the runtime sees them, at any point and after any number of updates. */
export interface Trainables {
  /** How many points the weights can be at together. */
  readonly most: number;
  /** Weights at `points`, at most `most` of them, by name: [points, …] where there may be several. Valid until the next call. */
  at(points: readonly Point[]): ReadonlyMap<string, Slab>;
  /** Walks to `point` without evaluating there: what a replay does, since in-place walks round. */
  visit(point: Point): void;
  /** Back to the live weights, then the optimizer's rule. */
  update(call: UpdateCall): void;
  /** Puts the live weights themselves into every slot, everything pending applied. */
  settle(): void;
  /** Forgets where the weights are and what is pending: their slots are about to be written anew. */
  forget(): void;
}

/** An operation on the tensors that some terms move; of all of them without. */
type Reaching = { readonly op: Op; readonly terms?: readonly Term[]; readonly block?: number };

/**
 * The walk from one point to another, a defined sequence: the terms of `from` in their order, then the new ones of `to`,
 * each moved by the difference of its scales. +ε → −ε is one addition of −2ε.
 */
export const walkBetween = (from: Point, to: Point): readonly Reaching[] => {
  const fp32 = ({ scale }: Term) => Math.fround(scale);
  const named = ({ key, block }: Term): string => `${nameOf(key)}/${block}`;
  const targets = new Map(to.map((term) => [named(term), term]));
  const move = (term: Term, scale: number): Reaching => ({
    op: { kind: "perturb", key: term.key, scale },
    terms: [term],
  });
  const left = from.map((term) => {
    const target = targets.get(named(term));
    return move(term, (target === undefined ? 0 : fp32(target)) - fp32(term));
  });
  const known = new Set(from.map(named));
  const fresh = to.filter((term) => !known.has(named(term)));
  const all = [...left, ...fresh.map((term) => move(term, fp32(term)))];
  return all.filter(({ op }) => op.kind !== "perturb" || op.scale !== 0);
};

/** The operations of each tensor: those that reach it, with its own scalars. Tensors that are alike share a list. */
const jobsOf =
  (reach: Reach) =>
  (slots: readonly Slot[], ops: readonly Reaching[]): readonly Job[] => {
    const lists = new Map<string, readonly Op[]>();
    const listOf = (slot: Slot): readonly Op[] => {
      const name = `${slot.layer}/${slot.block}/${JSON.stringify(slot.scalars)}`;
      const known = lists.get(name);
      if (known !== undefined) return known;
      const list = ops.flatMap(({ op, terms, block }): Op[] => {
        if (block !== undefined && block !== slot.block) return [];
        if (terms !== undefined && !terms.some((term) => reach(term, slot))) return [];
        if (op.kind !== "update") return [op];
        const gradient = op.gradient.filter((term) => reach(term, slot));
        const curvature = op.curvature.filter((term) => reach(term, slot));
        return [{ ...op, gradient, curvature, scalars: { ...op.scalars, ...slot.scalars } }];
      });
      lists.set(name, list);
      return list;
    };
    return slots.flatMap((slot) => {
      const list = listOf(slot);
      return list.length === 0 ? [] : [{ tensor: slot.tensor, ops: list }];
    });
  };

/** What every kind of walk needs: jobs, the plane of magnitudes where there is one, and scales on the sphere. */
const walking = (slots: readonly Slot[], pool: KernelPool, { program, subspace, onSphere }: ProgramPlan) => {
  const reach = reachOf(subspace, slots);
  const jobs = jobsOf(reach);
  const radii = new Map<string, number>();
  /** √(d / Σz²) over the elements that a key moves. */
  const radiusOf = (key: Key, block: number | undefined): number => {
    const name = `${nameOf(key)}/${block}`;
    const known = radii.get(name);
    if (known !== undefined) return known;
    const term = { key, scale: 1, ...(block === undefined ? {} : { block }) };
    const reached = slots.filter((slot) => reach(term, slot));
    pool.walk(jobs(reached, [{ op: { kind: "norm", key } }]));
    let [squares, count] = [0, 0];
    for (const { tensor } of reached) {
      if (tensor.total === undefined) continue;
      const [own = 0, moved = 0] = new Float64Array(tensor.total.arena.buffer, tensor.total.offset, 2);
      squares += own;
      count += moved;
    }
    const radius = squares === 0 ? 0 : Math.sqrt(count / squares);
    if (radii.size > 1024) radii.clear();
    radii.set(name, radius);
    return radius;
  };
  const scaled = <T extends Term>(terms: readonly T[], power = 1): readonly T[] =>
    onSphere
      ? terms.map((term) => ({ ...term, scale: Math.fround(term.scale) * radiusOf(term.key, term.block) ** power }))
      : terms;
  return {
    jobs,
    /** A point in the noise as it is drawn. */
    drawn: (point: Point): Point => scaled(point),
    updateOf: ({ update, scalars, step }: UpdateCall): Reaching => {
      const { gradient, curvature, block } = update;
      const terms = [...gradient, ...curvature];
      return {
        op: { kind: "update", gradient: scaled(gradient), curvature: scaled(curvature, 2), scalars, step },
        ...(terms.length === 0 ? {} : { terms }),
        ...(block === undefined ? {} : { block }),
      };
    },
    /** Whether planes follow the weights. */
    marks: program.noise.plane === true && subspace.kind === "magnitude",
  };
};

/**
 * Perturbed in place: no second copy of the weights. Operations queue up and run in one pass over memory before the next
 * evaluation, so that restore, update and the next step's +ε share a pass; the sequence on each element stays the same.
 */
export const inPlace = (slots: readonly Slot[], pool: KernelPool, plan: ProgramPlan): Trainables => {
  const { jobs, drawn, updateOf, marks } = walking(slots, pool, plan);
  const weights = new Map(slots.map(({ name, tensor }) => [name, tensor.weight]));
  /** A long replay is applied in stretches, so that the queue stays small. */
  const LONGEST_QUEUE = 256;
  let here: Point = [];
  let queue: Reaching[] = [];
  let marked = false;
  const flush = () => {
    if (queue.length === 0) return;
    const ops = queue;
    queue = [];
    pool.walk(jobs(slots, ops));
  };
  /** Magnitudes are those of unperturbed weights, looked at once between two updates. */
  const mark = () => {
    if (!marks || marked) return;
    queue.push({ op: { kind: "mark" } });
    // A radius is that of noise under the plane.
    if (plan.onSphere) flush();
    marked = true;
  };
  const visit = (point: Point) => {
    if (here.length === 0 && point.length > 0) mark();
    const there = drawn(point);
    queue.push(...walkBetween(here, there));
    here = there;
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
    update(call) {
      visit([]);
      mark();
      queue.push(updateOf(call));
      marked = false;
    },
    settle() {
      visit([]);
      flush();
    },
    forget() {
      here = [];
      queue = [];
      marked = false;
    },
  };
};

/**
 * Perturbed in copies: the live weights only ever change by updates, so nothing rounds. For small sets.
 *
 * @param most points at a time: what the slots have room for
 */
export const inCopies = (slots: readonly Slot[], pool: KernelPool, plan: ProgramPlan, most: number): Trainables => {
  const { jobs, drawn, updateOf, marks } = walking(slots, pool, plan);
  const live = new Map(slots.map(({ name, tensor }) => [name, tensor.weight]));
  let marked = false;
  const mark = () => {
    if (marks && !marked) pool.walk(jobs(slots, [{ op: { kind: "mark" } }]));
    marked = true;
  };
  return {
    most,
    visit: () => {},
    at(points) {
      if (points.length === 1 && points[0]?.length === 0) return live;
      mark();
      const copies = points.flatMap((point, i) => {
        const moved = slots.map((slot): Slot => {
          const { length } = slot.tensor.weight;
          const weight = part(slot.copies, i * length, length);
          floatsOf(weight).set(floatsOf(slot.tensor.weight));
          return { ...slot, tensor: { ...slot.tensor, weight } };
        });
        return jobs(moved, walkBetween([], drawn(point)));
      });
      pool.walk(copies);
      return new Map(
        slots.map(({ name, copies: room, tensor }) => [name, part(room, 0, points.length * tensor.weight.length)]),
      );
    },
    update(call) {
      mark();
      pool.walk(jobs(slots, [updateOf(call)]));
      marked = false;
    },
    settle: () => {},
    forget() {
      marked = false;
    },
  };
};
