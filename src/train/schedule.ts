export type ScheduleKind = "constant" | "linear" | "cosine";

export interface Schedule {
  readonly kind: ScheduleKind;
  /** Its peak. */
  readonly learningRate: number;
  /** Steps of linear warm-up. */
  readonly warmup: number;
  /** Steps of the whole run, warm-up included. */
  readonly steps: number;
}

/** What is left of the peak when a fraction of the steps after the warm-up is done. */
const decay: Readonly<Record<ScheduleKind, (done: number) => number>> = {
  constant: () => 1,
  linear: (done) => 1 - done,
  cosine: (done) => (1 + Math.cos(Math.PI * done)) / 2,
};

export const scheduleKinds = Object.keys(decay) as readonly ScheduleKind[];

/**
 * The learning rate of step `step` (counted from 0), as the field's trainers define it (linear and cosine fall from the peak
 * to 0 over the steps after the warm-up), except that step k of a warm-up of W gets (k + 1)/W and not k/W: two forward
 * passes for a step of size zero would be wasted. Not rounded.
 */
export const learningRateAt = (step: number, { kind, learningRate, warmup, steps }: Schedule): number => {
  if (step < warmup) return (learningRate * (step + 1)) / warmup;
  const done = Math.min(1, (step - warmup) / Math.max(1, steps - warmup));
  return learningRate * decay[kind](done);
};
