import { answerAt, type Estimator, keysOf, type Point } from "./estimator.js";

/** Sample standard deviation (divisor n − 1); 0 for one value. */
const deviation = (values: readonly number[]): number => {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return values.length < 2 ? 0 : Math.sqrt(squares / (values.length - 1));
};

/**
 * FZOO's one-sided batch, divided by the spread of its losses (arXiv 2506.09034): g = (1/εN) Σ (ℓᵢ − ℓ₀)·uᵢ / σ with
 * σ = std(ℓ₁ … ℓ_N), so that a step has about the same length wherever it is taken: normalised SGD. Losses that are all equal give no step.
 *
 * @param options.reference the released program's form: no 1/ε, and σ with divisor N
 * @param options.reuse FZOO-R: half as many losses are evaluated, and σ is taken over them and the last step's
 */
export const normalised = ({
  reference,
  reuse,
}: {
  reference: boolean;
  reuse: boolean;
}): Estimator<readonly number[]> => ({
  name: reuse ? "normalised one-sided, reusing losses" : "normalised one-sided",
  cost: reuse ? "q/2 + 1" : "q + 1",
  evaluations: (queries) => (reuse ? Math.ceil(queries / 2) : queries) + 1,
  initial: [],
  *step(context) {
    const { epsilon, queries, memory, bounded } = context;
    // The first step has none to reuse.
    const fresh = reuse && memory.length > 0 ? Math.ceil(queries / 2) : queries;
    const keys = keysOf({ ...context, queries: fresh });
    const points = keys.map((key): Point => [{ key, scale: epsilon }]);
    const losses = yield { kind: "evaluate", points: [[], ...points] };
    const base = answerAt(losses, 0);
    const rises = keys.map((_, query) => epsilon * bounded((answerAt(losses, query + 1) - base) / epsilon));
    const spread = [...rises, ...(reuse ? memory : [])];
    const count = spread.length;
    const sigma = deviation(spread) * (reference ? Math.sqrt((count - 1) / count) : 1);
    const divisor = sigma * fresh * (reference ? 1 : epsilon);
    const gradient = keys.map((key, query) => ({ key, scale: sigma === 0 ? 0 : (rises[query] ?? 0) / divisor }));
    // As journaled, so that a run that is gone on with remembers the very same numbers; half of them are enough.
    const kept = reuse ? yield { kind: "fix", numbers: rises.slice(0, Math.ceil(queries / 2)) } : [];
    yield { kind: "update", update: { gradient, curvature: [] } };
    return kept;
  },
});
