import { type Engine, valuesOf } from "../engine/engine.js";
import type { Move } from "../engine/protocol.js";
import { ZerothError } from "../errors.js";
import type { Journal } from "./journal.js";
import { newestSnapshot, readSnapshot, writeSnapshot } from "./snapshot.js";
import { movesOf, type Stepper } from "./step.js";

/** Steps posted to the engine at a time: a walk over the weights carries many, and messages stay small. */
const STRETCH = 64;

/** Saves the trainable weights and the optimizer's states as they are after `step` steps, a piece in memory at a time. */
export const saveSnapshot = async (engine: Engine, folder: string, step: number): Promise<void> => {
  const tensors = async function* () {
    for (const tensor of await engine.held()) yield { ...tensor, data: valuesOf(engine, tensor) };
  };
  await writeSnapshot(folder, step, tensors());
};

/**
 * Applies the journal's steps `from` … `to` − 1 to an engine whose weights are those after `from` steps.
 *
 * @returns what the estimator remembers after them
 */
const replaySteps = async (
  engine: Engine,
  stepper: Stepper,
  journal: Journal,
  from: number,
  to: number,
  onProgress: (stepsDone: number) => void = () => {},
): Promise<unknown> => {
  let moves: Move[] = [];
  let memory = stepper.estimator.initial;
  for (const record of journal.steps) {
    if (record.step >= to) break;
    const step = movesOf(stepper, record, memory);
    memory = step.memory;
    if (record.step < from) continue;
    moves.push(...step.moves);
    if ((record.step - from + 1) % STRETCH === 0) {
      await engine.replay(moves);
      moves = [];
      onProgress(record.step + 1);
    }
  }
  await engine.replay(moves);
  onProgress(to);
  return memory;
};

/**
 * Brings a fresh engine (weights of the base, or the adapter's start) to where a run was after `to` steps: from the
 * newest snapshot that is whole and not later, then by replay; by replay alone without a folder of snapshots.
 *
 * @returns what the estimator remembers after them
 * @throws ZerothError when the journal has fewer steps
 */
export const restoreRun = async (
  engine: Engine,
  stepper: Stepper,
  journal: Journal,
  to: number,
  snapshots?: string,
  onProgress?: (stepsDone: number) => void,
): Promise<unknown> => {
  if (to > journal.stepCount) {
    throw new ZerothError(`The journal holds ${journal.stepCount} steps; step ${to} is not among them.`, {
      kind: "usage",
    });
  }
  let from = 0;
  if (snapshots !== undefined) {
    const snapshot = await newestSnapshot(snapshots, to);
    if (snapshot !== undefined) {
      for await (const { name, data } of readSnapshot(snapshot.path)) await engine.write({ name, start: 0, data });
      from = snapshot.step;
      await engine.resume(from);
    }
  }
  return replaySteps(engine, stepper, journal, from, to, onProgress);
};
