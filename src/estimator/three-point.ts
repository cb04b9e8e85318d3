import { answerAt, type Estimator, keysOf, sidesOf } from "./estimator.js";

/**
 * HiZOO's three points (arXiv 2402.15173): the two-sided difference and, with one more evaluation at θ, the second
 * difference Δᵢ = L(θ + εuᵢ) + L(θ − εuᵢ) − 2L(θ). Gives g = (1/q) Σ sᵢ·zᵢ and zz = (1/q) Σ Δᵢ/(2ε²)·zᵢ²,
 * where Δᵢ/ε² = uᵢᵀAuᵢ exactly on a quadratic with Hessian A.
 *
 * @param options.absolute |Δᵢ| in place of Δᵢ, as the released program has it
 */
export const threePoint = ({ absolute }: { absolute: boolean }): Estimator<undefined> => ({
  name: "three-point",
  cost: "2q + 1",
  evaluations: (queries) => 2 * queries + 1,
  initial: undefined,
  *step(context) {
    const { epsilon, queries, bounded } = context;
    const keys = keysOf(context);
    const losses = yield { kind: "evaluate", points: [[], ...sidesOf(keys, epsilon)] };
    const base = answerAt(losses, 0);
    const sides = keys.map((key, query) => ({
      key,
      plus: answerAt(losses, 2 * query + 1),
      minus: answerAt(losses, 2 * query + 2),
    }));
    const gradient = sides.map(({ key, plus, minus }) => ({
      key,
      scale: bounded((plus - minus) / (2 * epsilon)) / queries,
    }));
    const curvature = sides.map(({ key, plus, minus }) => {
      const second = plus + minus - 2 * base;
      return { key, scale: (absolute ? Math.abs(second) : second) / (2 * epsilon * epsilon) / queries };
    });
    yield { kind: "update", update: { gradient, curvature } };
    return undefined;
  },
});
