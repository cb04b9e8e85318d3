import { answerAt, type Estimator, keysOf, type Point } from "./estimator.js";

/**
 * Forward differences from one shared base: sᵢ = (L(θ + εzᵢ) − L(θ)) / ε and g = (1/q) Σ sᵢ·zᵢ. q + 1 evaluations in place of 2q; the
 * curvature's share (ε/2)·zᵢᵀAzᵢ stays in sᵢ, and adds variance (no bias on a quadratic, z being symmetric).
 */
export const oneSided: Estimator<undefined> = {
  name: "one-sided",
  cost: "q + 1",
  evaluations: (queries) => queries + 1,
  initial: undefined,
  *step(context) {
    const { epsilon, queries, bounded } = context;
    const keys = keysOf(context);
    const points = keys.map((key): Point => [{ key, scale: epsilon }]);
    const losses = yield { kind: "evaluate", points: [[], ...points] };
    const base = answerAt(losses, 0);
    const gradient = keys.map((key, query) => ({
      key,
      scale: bounded((answerAt(losses, query + 1) - base) / epsilon) / queries,
    }));
    yield { kind: "update", update: { gradient, curvature: [] } };
    return undefined;
  },
};
