import { answerAt, type Estimator, keysOf, type Point, type Request, sidesOf, type Term } from "./estimator.js";

/** What MeZO-SVRG remembers between steps. */
export interface Anchor {
  /** The full estimate at the anchor. */
  readonly gradient: readonly Term[];
  /** What brings the live weights back to the anchor: the past is terms, so there is no second copy of the model. */
  readonly back: readonly Term[];
  /** What both learning rates are multiplied by. */
  readonly rate: number;
  /** Mean training losses of the last three windows, the newest last. */
  readonly losses: readonly number[];
}

export interface AnchoredOptions {
  /** Steps from one anchor to the next. */
  readonly period: number;
  /** η₁ ÷ η₂: the rate of an anchor's own step against that of the others. */
  readonly anchorRate: number;
  /** Steps of an annealing window; 0: no annealing. */
  readonly window: number;
  /** Both rates are divided by it when a window's loss is above 1.05 times that of the window two before. */
  readonly anneal: number;
}

/** Terms of equal keys added up. */
const collected = (terms: readonly Term[]): readonly Term[] => {
  const sums = new Map<string, Term>();
  for (const term of terms) {
    const { seed, stream, step, query } = term.key;
    const name = `${seed}/${stream}/${step}/${query}`;
    const known = sums.get(name);
    sums.set(name, known === undefined ? term : { ...known, scale: known.scale + term.scale });
  }
  return [...sums.values()];
};

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The rate of a step: lower once a window's loss is above 1.05 times that of the window two before. */
const annealed = (
  { rate, losses }: Anchor,
  step: number,
  { window, anneal }: Pick<AnchoredOptions, "window" | "anneal">,
): number => {
  if (window === 0 || step === 0 || step % window !== 0 || losses.length < 3 * window) return rate;
  return mean(losses.slice(-window)) > 1.05 * mean(losses.slice(0, window)) ? rate / anneal : rate;
};

/**
 * MeZO-SVRG (arXiv 2404.08080): every `period` steps an anchor θ̄ ← θ and a two-sided estimate g over the anchor's rows; otherwise
 * ∇̄(θ) − ∇̄(θ̄) + g, both estimates on the step's rows and along the *same* direction, which is what makes the difference small where θ is
 * near θ̄. (The released program draws two directions, and its anchor follows θ.) The rule that follows must be plain SGD: the way back to the
 * anchor is the sum of the updates since.
 */
export const anchored = ({ period, anchorRate, window, anneal }: AnchoredOptions): Estimator<Anchor> => ({
  name: "anchored",
  cost: "4q (an anchor's step: 2q over its rows)",
  evaluations: (queries) => (2 * queries + 4 * queries * (period - 1)) / period,
  initial: { gradient: [], back: [], rate: 1, losses: [] },
  *step(context) {
    const { step, epsilon, queries, learningRate, memory, bounded } = context;
    const keys = keysOf(context);
    const slopes = (losses: readonly number[], from: number): readonly Term[] =>
      keys.map((key, query) => {
        const [plus, minus] = [answerAt(losses, from + 2 * query), answerAt(losses, from + 2 * query + 1)];
        return { key, scale: bounded((plus - minus) / (2 * epsilon)) / queries };
      });
    const rate = annealed(memory, step, { window, anneal });
    /** Makes the update; what the way back to the anchor has become, and the losses seen. */
    const moveOn = function* (
      gradient: readonly Term[],
      back: readonly Term[],
      losses: readonly number[],
    ): Generator<Request, Pick<Anchor, "back" | "losses">, readonly number[]> {
      const made = yield { kind: "update", update: { gradient, curvature: [] } };
      const moved = gradient.map(({ key }, i) => ({ key, scale: learningRate * answerAt(made, i) }));
      const seen = window === 0 ? [] : yield { kind: "fix", numbers: [mean(losses)] };
      return { back: collected([...back, ...moved]), losses: [...memory.losses, ...seen].slice(-3 * window) };
    };
    const times = (terms: readonly Term[], by: number): readonly Term[] =>
      terms.map(({ key, scale }) => ({ key, scale: scale * by }));

    if (step % period === 0) {
      const losses = yield { kind: "evaluate", points: sidesOf(keys, epsilon), rows: "anchor" };
      const gradient = slopes(losses, 0);
      const kept = yield { kind: "fix", numbers: gradient.map(({ scale }) => scale) };
      const moved = yield* moveOn(times(gradient, rate * anchorRate), [], losses);
      return { gradient: keys.map((key, i) => ({ key, scale: answerAt(kept, i) })), rate, ...moved };
    }
    const near = sidesOf(keys, epsilon);
    const far = near.map((point): Point => [...memory.back, ...point]);
    const losses = yield { kind: "evaluate", points: [...near, ...far] };
    const there = slopes(losses, near.length);
    const difference = slopes(losses, 0).map(({ key, scale }, i) => ({ key, scale: scale - (there[i]?.scale ?? 0) }));
    const moved = yield* moveOn(
      [...times(difference, rate), ...times(memory.gradient, rate)],
      memory.back,
      losses.slice(0, near.length),
    );
    return { gradient: memory.gradient, rate, ...moved };
  },
});
