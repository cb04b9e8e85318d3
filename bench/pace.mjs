// Seconds of a trajectory on a machine that does nothing else. A trajectory is a function of its seed alone, so it may be computed whenever there
// is time; what its steps take is measured apart, in a quiet moment. The first epoch computes what the frozen blocks give, later ones reuse it.

/** Steps after which the pace is looked at: the first epoch of 1,000 rows is 62 of them. */
export const looks = [4, 33, 62, 76, 90];

/** @returns seconds of the steps before one, from a pace's { steps, seconds } */
export const secondsAt = (pace, step) => {
  const marks = [{ steps: 0, seconds: 0 }, ...pace];
  const next = marks.findIndex(({ steps }) => steps >= step);
  const end = next < 0 ? marks.length - 1 : Math.max(1, next);
  const [a, b] = [marks[end - 1], marks[end]];
  return a.seconds + ((step - a.steps) * (b.seconds - a.seconds)) / (b.steps - a.steps);
};
