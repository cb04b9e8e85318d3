import type { Pack } from "../batch/pack.js";
import type { Engine } from "../engine/engine.js";
import type { Run } from "../engine/protocol.js";

/** A pack of rows, and which rows they are. */
export interface RowPack {
  readonly pack: Pack;
  readonly rows: readonly number[];
}

/** Packs with the numbers of their trees' rows, which are given in the order of the trees. */
export const rowPacks = (packs: readonly Pack[], rows: readonly number[]): readonly RowPack[] => {
  let from = 0;
  return packs.map((pack) => {
    const start = from;
    from += pack.trees.length;
    return { pack, rows: rows.slice(start, from) };
  });
};

/**
 * Makes sure that the hidden states of a step's rows are kept before it is taken. A row's states have other last bits beside
 * other rows, so they are always computed in the pack that the row is first part of: a function of the data order alone, the same
 * with a cold cache as with a warm one. In the first epoch that pack is the step's own, and nothing is computed twice.
 *
 * @param count training rows
 * @param rowsOf the rows of a step
 * @param packsOf its packs
 */
export const prefetcher = (
  count: number,
  rowsOf: (step: number) => readonly number[],
  packsOf: (step: number) => readonly RowPack[],
  runOf: (pack: RowPack) => Run,
): ((engine: Engine, packs: readonly RowPack[]) => Promise<void>) => {
  const first = new Map<number, number>();
  let scanned = 0;
  /** The step that a row is first part of. */
  const firstStepOf = (row: number): number => {
    for (; !first.has(row) && first.size < count; scanned++) {
      for (const one of rowsOf(scanned)) if (!first.has(one)) first.set(one, scanned);
    }
    const step = first.get(row);
    if (step === undefined) throw new RangeError(`row ${row} is in no step`);
    return step;
  };
  return async (engine, packs) => {
    const missing = new Set(await engine.missing([...new Set(packs.flatMap(({ rows }) => rows))]));
    if (missing.size === 0) return;
    const steps = [...new Set([...missing].map(firstStepOf))].sort((a, b) => a - b);
    const canonical = steps.flatMap(packsOf).filter(({ rows }) => rows.some((row) => missing.has(row)));
    await engine.prefetch(canonical.map(runOf));
  };
};
