import type { Estimator, Point, Request, Term } from "./estimator.js";

/** Whether a block's update is made before the next block is looked at, or after the last. */
export type Sweep = "gauss-seidel" | "jacobi";

/**
 * Block-wise estimates (ZO-Bench, arXiv 2402.11592): the trainable tensors are divided into blocks, and an estimator is asked for each
 * of them in turn, with the other blocks at rest. A block's estimate has the variance of its own size.
 */
export const blockwise = (inner: Estimator<undefined>, sweep: Sweep): Estimator<undefined> => ({
  name: `${inner.name}, block by block (${sweep})`,
  cost: `(${inner.cost}) × blocks`,
  evaluations: (queries, blocks) => blocks * inner.evaluations(queries, 1),
  initial: undefined,
  *step(context) {
    const deferred: Request[] = [];
    for (let block = 0; block < context.blocks; block++) {
      const within = (terms: readonly Term[]): Point => terms.map((term) => ({ ...term, block }));
      const steps = inner.step(context);
      for (let next = steps.next(); !next.done; ) {
        const request = next.value;
        if (request.kind === "evaluate") next = steps.next(yield { ...request, points: request.points.map(within) });
        else if (request.kind === "fix") next = steps.next(yield request);
        else {
          const { gradient, curvature } = request.update;
          const own: Request = {
            kind: "update",
            update: { gradient: within(gradient), curvature: within(curvature), block },
          };
          if (sweep === "gauss-seidel") yield own;
          else deferred.push(own);
          // Estimators without a memory do not look at what an update answers.
          next = steps.next([]);
        }
      }
    }
    yield* deferred;
    return undefined;
  },
});
