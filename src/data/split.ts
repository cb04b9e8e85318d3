import { ZerothError } from "../errors.js";
import { permutation } from "../random/shuffle.js";

/** Row indices of a split. */
export interface Split {
  readonly train: readonly number[];
  readonly dev: readonly number[];
}

/** Permutations that are not an epoch's order take other queries of the data stream. */
const uses = { epoch: 0, split: 1, shots: 2 } as const;

const shuffled = (count: number, seed: bigint, use: keyof typeof uses, step = 0): Uint32Array =>
  permutation(count, { seed, stream: "data", step, query: uses[use] });

/**
 * MeZO's protocol: one permutation of the training file by the data seed, of which the first train + dev rows are the sample
 * (all rows where there are fewer) and the sample's tail is dev.
 *
 * @param options.devRows default a tenth of the file, at most 500
 * @param options.trainRows default all that are not dev rows
 * @throws ZerothError when no row is left to train on
 */
export const splitRows = (
  count: number,
  { trainRows, devRows, seed }: { trainRows?: number | undefined; devRows?: number | undefined; seed: bigint },
): Split => {
  const dev = devRows ?? Math.min(500, Math.floor(count / 10));
  const sample = Array.from(shuffled(count, seed, "split").subarray(0, (trainRows ?? count) + dev));
  const head = Math.max(0, sample.length - dev);
  if (head === 0) {
    throw new ZerothError(
      `No row is left to train on: the file holds ${count} and --dev-rows takes ${dev}. Lower --dev-rows.`,
    );
  }
  return { train: sample.slice(0, head), dev: sample.slice(head) };
};

/**
 * The few-shot protocol (LM-BFF, arXiv 2012.15723, section 3; MeZO's masked models): in one permutation of the file by the data seed, the first
 * `perClass` rows of every class are trained on, and the next as many are dev rows.
 *
 * @param labels each row's class
 * @param classes what the classes are called
 * @throws ZerothError with the classes' counts where one has fewer rows than that
 */
export const splitPerClass = (
  labels: readonly number[],
  classes: readonly string[],
  { perClass, seed }: { perClass: number; seed: bigint },
): Split => {
  const seen = classes.map(() => 0);
  const train: number[] = [];
  const dev: number[] = [];
  for (const index of shuffled(labels.length, seed, "split")) {
    const label = labels[index] ?? -1;
    const before = seen[label] ?? Number.POSITIVE_INFINITY;
    seen[label] = before + 1;
    if (before < perClass) train.push(index);
    else if (before < 2 * perClass) dev.push(index);
  }
  if (seen.some((count) => count < 2 * perClass)) {
    const counts = classes.map((name, label) => `${name} ${seen[label]}`).join(", ");
    throw new ZerothError(
      `--per-class ${perClass} takes ${2 * perClass} rows of every class, half of them dev rows, and the file has: ${counts}.`,
      { kind: "usage" },
    );
  }
  return { train, dev };
};

/**
 * The training items of each step: the file's epochs, each in an order of its own, end to end, cut into batches. A function
 * of the step alone, so that a resumed run needs no position.
 *
 * @param step counted from 0
 */
export const batchOrder = (count: number, batchSize: number, seed: bigint): ((step: number) => readonly number[]) => {
  const orders = new Map<number, Uint32Array>();
  const orderOf = (epoch: number): Uint32Array => {
    const order = orders.get(epoch) ?? shuffled(count, seed, "epoch", epoch);
    // A batch spans neighbouring epochs at most as often as it is longer than the file: no need to remember old ones.
    if (orders.size > 2) orders.clear();
    orders.set(epoch, order);
    return order;
  };
  return (step) =>
    Array.from({ length: batchSize }, (_, i) => {
      const position = step * batchSize + i;
      return orderOf(Math.floor(position / count))[position % count] ?? 0;
    });
};

/** Indices of `shots` demonstrations drawn from `count` training rows. */
export const drawShots = (count: number, shots: number, seed: bigint): readonly number[] =>
  Array.from(shuffled(count, seed, "shots").subarray(0, shots));
