import { answerAt, type Estimator, keysOf, sidesOf } from "./estimator.js";

/**
 * Two-sided SPSA, averaged over q queries on the same batch (MeZO, arXiv 2305.17333, algorithm 1 and 2):
 * sᵢ = (L(θ + εzᵢ) − L(θ − εzᵢ)) / 2ε and g = (1/q) Σ sᵢ·zᵢ. On a quadratic sᵢ = zᵢᵀ∇L for any ε.
 */
export const twoSided: Estimator<undefined> = {
  name: "two-sided",
  cost: "2q",
  evaluations: (queries) => 2 * queries,
  initial: undefined,
  *step(context) {
    const { epsilon, queries, bounded } = context;
    const keys = keysOf(context);
    const losses = yield { kind: "evaluate", points: sidesOf(keys, epsilon) };
    const gradient = keys.map((key, query) => {
      const projected = (answerAt(losses, 2 * query) - answerAt(losses, 2 * query + 1)) / (2 * epsilon);
      return { key, scale: bounded(projected) / queries };
    });
    yield { kind: "update", update: { gradient, curvature: [] } };
    return undefined;
  },
};
