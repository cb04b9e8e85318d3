import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeError } from "../atomic.js";
import { fill } from "../model/read.js";

/**
 * Hidden states of training rows where they enter the first block that is trained: no step changes them. What does not fit the
 * memory budget goes to a scratch file, so that every row is computed once, whatever the budget.
 */
export interface PrefixCache {
  has(row: number): boolean;
  /** Keeps a copy of `states` ([tokens, width], flat) under a row's number. @throws ZerothError when the disk is full */
  put(row: number, states: Float32Array): void;
  /** The states of rows end to end. @throws Error for a row that is not here */
  gather(rows: readonly number[]): Float32Array;
  close(): void;
}

type Kept = Float32Array | { readonly offset: number; readonly length: number };

/** @param budget bytes of memory; what is beyond them goes to `folder` */
export const createPrefixCache = (budget: number, folder = tmpdir()): PrefixCache => {
  const kept = new Map<number, Kept>();
  let used = 0;
  let scratch: { readonly fd: number; readonly place: string; size: number } | undefined;

  const openScratch = () => {
    const place = mkdtempSync(join(folder, "zeroth-prefix-"));
    return { fd: openSync(join(place, "states"), "w+"), place, size: 0 };
  };
  const spill = (states: Float32Array): Kept => {
    try {
      scratch ??= openScratch();
      const bytes = new Uint8Array(states.buffer, states.byteOffset, states.byteLength);
      for (let done = 0; done < bytes.length; ) {
        done += writeSync(scratch.fd, bytes, done, bytes.length - done, scratch.size + done);
      }
    } catch (error) {
      throw writeError(join(scratch?.place ?? folder, "states"), error);
    }
    const offset = scratch.size;
    scratch.size += states.byteLength;
    return { offset, length: states.length };
  };
  const fetched = (entry: Kept, out: Float32Array): void => {
    if (entry instanceof Float32Array) {
      out.set(entry);
      return;
    }
    const bytes = new Uint8Array(out.buffer, out.byteOffset, out.byteLength);
    fill(
      scratch?.fd ?? -1,
      bytes,
      entry.offset,
      () => new Error(`the scratch file in ${scratch?.place} was cut short`),
    );
  };
  return {
    has: (row) => kept.has(row),
    put(row, states) {
      if (kept.has(row)) return;
      const fits = used + states.byteLength <= budget;
      if (fits) used += states.byteLength;
      kept.set(row, fits ? states.slice() : spill(states));
    },
    gather(rows) {
      const entries = rows.map((row) => {
        const entry = kept.get(row);
        if (entry === undefined) throw new Error(`the hidden states of row ${row} are not in the cache`);
        return entry;
      });
      const out = new Float32Array(entries.reduce((sum, { length }) => sum + length, 0));
      let at = 0;
      for (const entry of entries) {
        fetched(entry, out.subarray(at, at + entry.length));
        at += entry.length;
      }
      return out;
    },
    close() {
      if (scratch === undefined) return;
      closeSync(scratch.fd);
      rmSync(scratch.place, { recursive: true, force: true });
      scratch = undefined;
      kept.clear();
    },
  };
};
