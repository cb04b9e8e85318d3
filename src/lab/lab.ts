import { accessSync, constants, mkdirSync } from "node:fs";
import { join } from "node:path";
import { writeError, writeFileAtomic } from "../atomic.js";
import { ZerothError } from "../errors.js";
import { contenders } from "./contenders.js";
import type { Row, Setting } from "./experiment.js";
import { type ExperimentName, experiments } from "./experiments.js";

export interface LabOptions extends Omit<Setting, "onProgress" | "seed"> {
  /** Names of experiments; none for all of them. */
  readonly experiments?: readonly string[] | undefined;
  /** Folder of the pictures; made where there is none. */
  readonly out: string;
  /** Default 0. */
  readonly seed?: number | undefined;
  readonly onProgress?: ((experiment: ExperimentName, done: number, total: number) => void) | undefined;
  /** Told of each experiment as it ends. */
  readonly onMeasured?: ((experiment: ExperimentName, rows: readonly Row[], file: string) => void) | undefined;
}

/** @throws ZerothError (usage) for a name that there is not */
const named = (name: string): ExperimentName => {
  if (Object.hasOwn(experiments, name)) return name as ExperimentName;
  throw new ZerothError(`There is no experiment ${name}. There are: ${Object.keys(experiments).join(", ")}.`, {
    kind: "usage",
  });
};

/** @throws ZerothError for a folder that cannot be made or written */
const makeFolder = (folder: string): void => {
  try {
    mkdirSync(folder, { recursive: true });
    accessSync(folder, constants.W_OK);
  } catch (error) {
    throw writeError(folder, error);
  }
};

/** What there is to measure, each with a sentence. */
export const listExperiments = (): readonly { readonly experiment: string; readonly summary: string }[] =>
  Object.entries(experiments).map(([experiment, { summary }]) => ({ experiment, summary }));

/**
 * Runs experiments on plain functions, by the very optimizers and kernels that train models, and draws a picture of each.
 *
 * @returns the files that were written
 * @throws ZerothError (usage) for a name that there is not; for a folder that cannot be written. Both before anything is measured
 */
export const lab = async ({
  experiments: chosen = [],
  out,
  seed = 0,
  onProgress,
  onMeasured,
  ...setting
}: LabOptions): Promise<readonly string[]> => {
  const names = (chosen.length === 0 ? Object.keys(experiments) : chosen).map(named);
  contenders(setting.optimizers);
  makeFolder(out);
  const files: string[] = [];
  for (const name of names) {
    const { rows, picture } = await experiments[name].run({
      ...setting,
      seed,
      onProgress: (done, total) => onProgress?.(name, done, total),
    });
    const file = join(out, `${name}.svg`);
    await writeFileAtomic(file, picture);
    files.push(file);
    onMeasured?.(name, rows, file);
  }
  return files;
};
