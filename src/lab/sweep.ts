/** A learning rate that was tried, and what it came to: less is better, and infinity is a divergence. */
export interface Tried<T> {
  readonly learningRate: number;
  readonly score: number;
  readonly outcome: T;
}

/** Furthest from the first rate, in half decades. */
const REACH = 20;

/**
 * Looks for the learning rate of the least score: from a first one in strides of `strides` half decades, one after another, each for as long as the
 * score falls. The score is taken to have one valley; of rates that are as good the smaller one counts, so that the way out of divergence is
 * down. Every rate is tried once.
 */
export const sweep = async <T>(
  attempt: (learningRate: number) => Promise<{ readonly score: number; readonly outcome: T }>,
  first: number,
  strides: readonly number[] = [2, 1],
): Promise<Tried<T>> => {
  const tried = new Map<number, Tried<T>>();
  /** At `place` half decades from the first rate. */
  const at = async (place: number): Promise<Tried<T>> => {
    const known = tried.get(place);
    if (known !== undefined) return known;
    const learningRate = Number((first * 10 ** (place / 2)).toPrecision(2));
    const made = { learningRate, ...(await attempt(learningRate)) };
    tried.set(place, made);
    return made;
  };
  let place = 0;
  for (const stride of strides.flatMap((size) => [-size, size])) {
    for (let next = place + stride; Math.abs(next) <= REACH; next += stride) {
      const [here, there] = [await at(place), await at(next)];
      if (!(there.score < here.score || (there.score === here.score && stride < 0))) break;
      place = next;
    }
  }
  return at(place);
};
