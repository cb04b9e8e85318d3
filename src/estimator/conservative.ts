import { answerAt, type Estimator, keysOf, type Point, sidesOf, type Term } from "./estimator.js";

/**
 * ZO-SGD-Cons (ZO-Bench, arXiv 2402.11592): of θ, θ − ηg and θ + ηg, with g the two-sided estimate, the one whose loss on the step's rows
 * is least. Ties and losses that are not numbers keep θ, so the loss on a step's rows never rises. The rule that follows must be plain SGD.
 */
export const conservative: Estimator<undefined> = {
  name: "conservative",
  cost: "2q + 3",
  evaluations: (queries) => 2 * queries + 3,
  initial: undefined,
  *step(context) {
    const { epsilon, queries, learningRate, bounded } = context;
    const keys = keysOf(context);
    const losses = yield { kind: "evaluate", points: [[], ...sidesOf(keys, epsilon)] };
    const base = answerAt(losses, 0);
    const gradient = keys.map((key, query): Term => {
      const projected = (answerAt(losses, 2 * query + 1) - answerAt(losses, 2 * query + 2)) / (2 * epsilon);
      return { key, scale: bounded(projected) / queries };
    });
    const moves = yield { kind: "fix", numbers: gradient.map(({ scale }) => learningRate * scale) };
    const candidate = (sign: number): Point => keys.map((key, i) => ({ key, scale: sign * answerAt(moves, i) }));
    const tried = yield { kind: "evaluate", points: [candidate(-1), candidate(1)] };
    const [down, up] = [answerAt(tried, 0), answerAt(tried, 1)];
    const sign = down < base && !(up < down) ? 1 : up < base ? -1 : 0;
    yield {
      kind: "update",
      update: { gradient: gradient.map(({ key, scale }) => ({ key, scale: sign * scale })), curvature: [] },
    };
    return undefined;
  },
};
