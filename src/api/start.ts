import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { packs } from "../batch/pack.js";
import { runOf } from "../engine/feeds.js";
import { ZerothError } from "../errors.js";
import { readSafetensorsHeader, writeSafetensors } from "../model/safetensors.js";
import type { TensorSource } from "../model/weights.js";
import type { Method } from "../peft/method.js";
import { openEngine, plain } from "./engines.js";
import type { Model } from "./load.js";
import type { RuntimeChoice } from "./types.js";

type Runtime = Omit<RuntimeChoice, "adapter">;

/*
 * A set that starts as what the model computes of some tokens. Another machine would compute other last bits, so a run keeps what it
 * started from, in a file of its own beside the journal.
 */

/** Tensors that a set starts from, by name, and the hash of the file that holds them. */
export interface Start {
  readonly tensors: ReadonlyMap<string, TensorSource>;
  readonly sha256: string;
}

/** @throws ZerothError when the file is missing or damaged */
export const readStart = (file: string): Start => {
  if (!existsSync(file))
    throw new ZerothError(`${file} is missing: the run's weights cannot be rebuilt without what it started from.`);
  return {
    tensors: new Map(readSafetensorsHeader(file).map((source) => [source.name, source])),
    sha256: createHash("sha256").update(readFileSync(file)).digest("hex"),
  };
};

/** The keys and values that a model has for some tokens as a row: [tokens, layers·2·keyHeads·headSize]. */
const activations = async (model: Model, ids: readonly number[], runtime: Runtime): Promise<Float32Array> => {
  const row = { shared: ids, branches: [{ ids: [0], scored: [ids.length] }], label: 0, line: 1, truncated: 0 };
  const [pack] = packs([row], { head: "tokens" });
  if (pack === undefined) throw new Error("no pack");
  const engine = await openEngine(model, { method: plain, ...runtime });
  try {
    const [[output] = []] = await engine.evaluate({
      points: [[]],
      runs: [{ ...runOf(model.family, pack), graph: "keys" }],
    });
    if (output === undefined) throw new Error("no keys and values");
    return output;
  } finally {
    await engine.close();
  }
};

/** Computes what a set starts from and writes it; nothing where it starts as its tensors say. */
export const makeStart = async (
  model: Model,
  { start }: Method,
  file: string,
  runtime: Runtime,
): Promise<Start | undefined> => {
  if (start === undefined) return undefined;
  const { name, ids } = start;
  const values = await activations(model, ids, runtime);
  await mkdir(dirname(file), { recursive: true });
  const bytes = () => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  await writeSafetensors(file, [{ name, shape: [ids.length, values.length / ids.length], dtype: "F32", bytes }]);
  return readStart(file);
};

/** The same for a while: its file is gone when `work` is done. */
export const withStart = async <T>(
  model: Model,
  method: Method,
  runtime: Runtime,
  work: (start: Start | undefined) => Promise<T>,
): Promise<T> => {
  if (method.start === undefined) return work(undefined);
  const folder = await mkdtemp(join(tmpdir(), "zeroth-start-"));
  try {
    return await work(await makeStart(model, method, join(folder, "start.safetensors"), runtime));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
};
