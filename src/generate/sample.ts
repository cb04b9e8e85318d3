import { ZerothError } from "../errors.js";
import { tensorId, tensorKey } from "../random/key.js";
import { uniformAt } from "../random/noise.js";

/** The next token out of the logits of every one; `index` counts the tokens chosen so far. */
export type Choose = (logits: Float32Array, index: number) => number;

/** How tokens are drawn. */
export interface Sampling {
  /** Logits are divided by it; 0 always takes the likeliest token. */
  readonly temperature: number;
  /** Draws from the fewest tokens whose probabilities come to this much; 1 from all. */
  readonly topP: number;
  /** Draws from this many of the likeliest tokens; 0 from all. */
  readonly topK: number;
  readonly seed: bigint;
}

/** The likeliest token, the first of equals. @throws ZerothError for logits that are not numbers */
export const greedy: Choose = (logits) => {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if ((logits[id] ?? 0) > (logits[best] ?? 0)) best = id;
  if (Number.isFinite(logits[best])) return best;
  throw new ZerothError("The model's logits are not finite: its weights are damaged, or training has diverged.");
};

/** The logit of the `count`-th likeliest token. */
const floorOf = (logits: Float32Array, count: number): number =>
  logits.slice().sort()[Math.max(0, logits.length - count)] ?? Number.NEGATIVE_INFINITY;

const ids = (logits: Float32Array, keep: (id: number) => boolean): number[] => {
  const kept: number[] = [];
  for (let id = 0; id < logits.length; id++) if (keep(id)) kept.push(id);
  return kept;
};

/**
 * Temperature, then the k likeliest tokens, then the nucleus of probability p (Holtzman et al., arXiv 1904.09751), then a draw: the usual order. Token
 * `index` is drawn by number `index` of the seed's own stream, so that a seed gives the same text whatever came before.
 */
export const sampling = ({ temperature, topP, topK, seed }: Sampling): Choose => {
  if (temperature === 0) return greedy;
  const key = tensorKey({ seed, stream: "sample", step: 0, query: 0 }, tensorId("token"));
  return (logits, index) => {
    const best = greedy(logits, index);
    const largest = logits[best] ?? 0;
    const weightOf = (id: number): number => Math.exp(((logits[id] ?? 0) - largest) / temperature);
    const likelier = (a: number, b: number): number => (logits[b] ?? 0) - (logits[a] ?? 0) || a - b;

    const floor = topK > 0 ? floorOf(logits, topK) : Number.NEGATIVE_INFINITY;
    let kept = ids(logits, (id) => (logits[id] ?? 0) >= floor);
    if (topK > 0) kept = kept.sort(likelier).slice(0, topK);
    let total = kept.reduce((sum, id) => sum + weightOf(id), 0);
    if (topP < 1) {
      // Tokens below this share come to less than 1 − p together, so none of them is needed: few are left to sort.
      const least = ((1 - topP) * total) / kept.length;
      const sorted = kept.filter((id) => id === best || weightOf(id) >= least).sort(likelier);
      let reached = 0;
      const end = sorted.findIndex((id) => {
        reached += weightOf(id);
        return reached >= topP * total;
      });
      kept = end < 0 ? sorted : sorted.slice(0, end + 1);
      total = kept.reduce((sum, id) => sum + weightOf(id), 0);
    }
    let left = uniformAt(key, index) * total;
    for (const id of kept) {
      left -= weightOf(id);
      if (left < 0) return id;
    }
    return best;
  };
};
