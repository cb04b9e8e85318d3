import { type Estimator, lossAt, type Point } from "./estimator.js";

/**
 * Two-sided SPSA, averaged over q queries on the same batch (MeZO, arXiv 2305.17333, algorithm 1 and 2):
 * sᵢ = (L(θ + εzᵢ) − L(θ − εzᵢ)) / 2ε and g = (1/q) Σ sᵢ·zᵢ. On a quadratic sᵢ = zᵢᵀ∇L for any ε.
 */
export const twoSided: Estimator = {
  name: "two-sided",
  evaluations: (queries) => 2 * queries,
  *step({ epsilon, queries, key }) {
    const keys = Array.from({ length: queries }, (_, query) => key(query));
    const points = keys.flatMap((k): Point[] => [[{ key: k, scale: epsilon }], [{ key: k, scale: -epsilon }]]);
    const losses = yield { kind: "evaluate", points };
    const gradient = keys.map((k, query) => {
      const projected = (lossAt(losses, 2 * query) - lossAt(losses, 2 * query + 1)) / (2 * epsilon);
      return { key: k, scale: projected / queries };
    });
    yield { kind: "update", update: { gradient, curvature: [] } };
  },
};
