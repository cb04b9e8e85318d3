import { copyFile, mkdir, mkdtemp, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ZerothError } from "../errors.js";
import { hashWeights } from "../model/open.js";
import { requireSameRun } from "../train/journal.js";
import { finishedResult, trainRun } from "../train/run.js";
import { openRunFolder } from "../train/run-folder.js";
import { threadsOf } from "./engines.js";
import type { Model } from "./load.js";
import { methodOf, prepare } from "./prepare.js";
import { withFittedRate } from "./rate.js";
import { freeSettings, resolveSettings, said } from "./settings.js";
import { makeStart, readStart } from "./start.js";
import type { FinetuneOptions, FinetuneResult, Run, TrainEvent } from "./types.js";

/** Copies what a run made, and nothing of how it was made. */
const copyResult = async (from: string, to: string): Promise<void> => {
  await mkdir(to, { recursive: true });
  for (const entry of await readdir(from, { withFileTypes: true })) {
    if (entry.isFile()) await copyFile(join(from, entry.name), join(to, entry.name));
  }
};

/**
 * Fine-tunes a model with forward passes only. Nothing happens until the run is iterated.
 *
 * @throws ZerothError from the iteration: bad options, data or folders before anything is written; a loss that is not finite
 *   after the last good weights were saved
 */
export const finetune = (model: Model, options: FinetuneOptions): Run => {
  let settle: (result: FinetuneResult) => void = () => {};
  let fail: (error: unknown) => void = () => {};
  const result = new Promise<FinetuneResult>((resolve, reject) => {
    settle = resolve;
    fail = reject;
  });
  result.catch(() => undefined);
  let out: string | undefined;

  const drive = async function* (): AsyncGenerator<TrainEvent> {
    const folderName = options.out ?? (await mkdtemp(join(tmpdir(), "zeroth-")));
    out = folderName;
    const given = said(options);
    const threads = threadsOf(options.threads);
    // Options out of range are refused before the folder is touched; the journal has the rest of those of a run that is gone on with.
    const bound = options.resume === true ? undefined : methodOf(model, resolveSettings(given, threads));
    const folder = openRunFolder(folderName, { resume: options.resume ?? false });
    try {
      const already = finishedResult(folder);
      if (already !== undefined) {
        settle(already);
        yield { type: "done", result: already };
        return;
      }
      const journaled = folder.state.kind === "unfinished" ? folder.state.journal : undefined;
      const resolved = resolveSettings({ threads, ...given }, threads, journaled?.header.options);
      const settings = withFittedRate(model, resolved, journaled !== undefined || given.learningRate !== undefined);
      const method = bound ?? methodOf(model, settings);
      const { device, quantize } = options;
      const from =
        journaled !== undefined && method.start !== undefined
          ? readStart(folder.paths.start)
          : await makeStart(model, method, folder.paths.start, { threads, device, quantize });
      const resumedAt = journaled?.stepCount ?? 0;
      const { header, plan, start, notes } = await prepare(model, options, settings, resumedAt, from, method);
      if (journaled !== undefined) {
        requireSameRun(folder.paths.journal, journaled.header, header, freeSettings(settings));
        await requireSameBase(model, folder.paths.journal, journaled.base?.sha256);
      }
      yield start;
      for (const message of notes) yield { type: "note", message };
      const made = yield* trainRun({ ...plan, folder });
      settle(made);
      yield { type: "done", result: made };
    } finally {
      folder.release();
    }
  };
  const events = async function* (): AsyncGenerator<TrainEvent> {
    try {
      yield* drive();
    } catch (error) {
      fail(error);
      throw error;
    } finally {
      // Only matters where the iteration was left before its end: the promise is settled otherwise.
      fail(
        new ZerothError(
          `The run was left before its end; its journal in ${out} holds every step.\nGo on with resume: true. To stop a run and keep its weights, abort its signal.`,
        ),
      );
    }
  };

  return {
    result,
    [Symbol.asyncIterator]: () => events(),
    async save(folder) {
      await result;
      if (out !== undefined) await copyResult(out, folder);
    },
  };
};

/** The journal's header has a quick fingerprint of the base; its hashes, once they were ready, are the proof. */
export const requireSameBase = async (
  model: Model,
  journal: string,
  expected: Readonly<Record<string, string>> | undefined,
): Promise<void> => {
  if (expected === undefined) return;
  const found = await hashWeights(model.files, {});
  const different = Object.keys({ ...expected, ...found }).filter((file) => expected[file] !== found[file]);
  if (different.length === 0) return;
  throw new ZerothError(
    `${journal} was made with another base model: ${different.join(", ")} ${different.length === 1 ? "differs" : "differ"}.\nGive the model it was made with, or start a new run in another --out.`,
  );
};
