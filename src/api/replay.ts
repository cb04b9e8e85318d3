import { ZodError } from "zod";
import { messageOf, ZerothError } from "../errors.js";
import { fingerprint } from "../model/open.js";
import { type JournalHeader, readJournal } from "../train/journal.js";
import { restoreRun } from "../train/restore.js";
import { runPaths } from "../train/run-folder.js";
import { openEngine, threadsOf } from "./engines.js";
import { requireSameBase } from "./finetune.js";
import type { Model } from "./load.js";
import { places } from "./places.js";
import { methodOf, parametersOf, saverOf, trainerOf } from "./prepare.js";
import { readSettings, type Settings } from "./settings.js";
import { readStart } from "./start.js";
import type { ReplayOptions } from "./types.js";

const settingsOf = (path: string, { options, zeroth }: JournalHeader): Settings => {
  try {
    return readSettings(options);
  } catch (error) {
    const [what] = error instanceof ZodError ? [error.issues[0]?.path.join(".")] : messageOf(error).split(/:|\n/);
    throw new ZerothError(
      `${path} holds settings that this version does not know (${what}).\nUse the version of Zeroth that made it: ${zeroth}.`,
    );
  }
};

/**
 * Rebuilds the tuned weights after any step from the base model and the run's journal alone, bit for bit; no forward pass runs.
 * @throws ZerothError when the base differs from the run's, the journal is damaged, or the step is not in it
 */
export const replay = async (model: Model, options: ReplayOptions): Promise<{ step: number; out: string }> => {
  const { out } = options;
  places.folder.check(out);
  const paths = runPaths(options.run);
  const journal = readJournal(paths.journal);
  const settings = settingsOf(paths.journal, journal.header);
  if (fingerprint(model.files) !== journal.header.model.fingerprint) {
    throw new ZerothError(
      `${paths.journal} was made with another base model (${journal.header.model.origin}).\nGive the model it was made with.`,
    );
  }
  await requireSameBase(model, paths.journal, journal.base?.sha256);
  const step = options.step ?? journal.finished?.keptStep ?? journal.stepCount;
  if (step > journal.stepCount) {
    throw new ZerothError(`${paths.journal} holds ${journal.stepCount} steps; step ${step} is not among them.`, {
      kind: "usage",
    });
  }
  const whole = methodOf(model, settings);
  const trainer = trainerOf(model, settings, journal.header.trainRows, whole);
  const { method, stepper } = trainer;
  const start = method.start === undefined ? undefined : readStart(paths.start);
  if (start !== undefined && parametersOf(method, start) !== journal.header.parameters)
    throw new ZerothError(`${paths.start} is not what this run started from.`);
  const engine = await openEngine(model, {
    ...{ method, training: trainer, adapter: start?.tensors },
    seed: BigInt(settings.seed),
    threads: threadsOf(options.threads),
  });
  try {
    await restoreRun(engine, stepper, journal, step);
    await saverOf(model, settings, whole)(engine, out);
  } finally {
    await engine.close();
  }
  return { step, out };
};
