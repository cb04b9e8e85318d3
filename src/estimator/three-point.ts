import { type Estimator, lossAt, type Point } from "./estimator.js";

/**
 * HiZOO's three points (arXiv 2402.15173): the two-sided difference and, with one more evaluation at θ, the second
 * difference Δᵢ = L(θ + εuᵢ) + L(θ − εuᵢ) − 2L(θ). Gives g = (1/q) Σ sᵢ·zᵢ and zz = (1/q) Σ Δᵢ/(2ε²)·zᵢ²,
 * where Δᵢ/ε² = uᵢᵀAuᵢ exactly on a quadratic with Hessian A.
 */
export const threePoint: Estimator = {
  name: "three-point",
  evaluations: (queries) => 2 * queries + 1,
  *step({ epsilon, queries, key }) {
    const keys = Array.from({ length: queries }, (_, query) => key(query));
    const points: Point[] = [
      [],
      ...keys.flatMap((k): Point[] => [[{ key: k, scale: epsilon }], [{ key: k, scale: -epsilon }]]),
    ];
    const losses = yield { kind: "evaluate", points };
    const base = lossAt(losses, 0);
    const sides = keys.map((k, query) => ({
      key: k,
      plus: lossAt(losses, 2 * query + 1),
      minus: lossAt(losses, 2 * query + 2),
    }));
    yield {
      kind: "update",
      update: {
        gradient: sides.map(({ key: k, plus, minus }) => ({ key: k, scale: (plus - minus) / (2 * epsilon) / queries })),
        curvature: sides.map(({ key: k, plus, minus }) => ({
          key: k,
          scale: (plus + minus - 2 * base) / (2 * epsilon * epsilon) / queries,
        })),
      },
    };
  },
};
