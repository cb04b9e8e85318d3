import { mkdir, open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { z } from "zod";
import { writeError, writeFileAtomic } from "../atomic.js";
import { messageOf, ZerothError } from "../errors.js";

/*
 * A snapshot saves the time of a long replay; it never holds anything that base weights + journal do not. The file is
 *
 *   "ZSNAPSH" u8 version, then sections [u32 length of JSON][JSON][data][u32 crc32 of JSON and data],
 *
 * little-endian: { step }, then { name, shape } with fp32 data for each tensor, then { end: number of tensors }.
 */

/** A trainable tensor or a state of the optimizer. */
export interface SnapshotTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** The same, its values given a piece at a time. */
export interface TensorToSnapshot extends Omit<SnapshotTensor, "data"> {
  readonly data: AsyncIterable<Float32Array> | Iterable<Float32Array>;
}

/** Not `.safetensors`: what tools find in a run's folder is the result. */
const ENDING = ".snapshot";
const MAGIC = Uint8Array.from([..."ZSNAPSH"].map((letter) => letter.charCodeAt(0)).concat(1));
const LARGEST_JSON = 2 ** 16;
const SLICE = 2 ** 22;

const startSchema = z.strictObject({ step: z.int().min(0) });
const tensorSchema = z.strictObject({ name: z.string(), shape: z.array(z.int().min(0)) });
const endSchema = z.strictObject({ end: z.int().min(0) });

const u32 = (value: number): Uint8Array => {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
};

async function* section(entry: object, data: TensorToSnapshot["data"] = []): AsyncGenerator<Uint8Array> {
  const text = Buffer.from(JSON.stringify(entry));
  yield u32(text.length);
  yield text;
  let crc = crc32(text);
  for await (const values of data) {
    const bytes = bytesOf(values);
    crc = crc32(bytes, crc);
    yield bytes;
  }
  yield u32(crc);
}

/** Passes a tensor's values on, and throws where there are more or fewer than its shape says. */
async function* counted({ name, shape, data }: TensorToSnapshot): AsyncGenerator<Float32Array> {
  let found = 0;
  for await (const values of data) {
    found += values.length;
    yield values;
  }
  if (elements(shape) !== found) throw new RangeError(`${name} has ${found} elements, its shape [${shape}]`);
}

const bytesOf = (data: Float32Array): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

async function* file(step: number, tensors: AsyncIterable<TensorToSnapshot>): AsyncGenerator<Uint8Array> {
  yield MAGIC;
  yield* section({ step });
  let end = 0;
  for await (const tensor of tensors) {
    const { name, shape } = tensor;
    yield* section({ name, shape }, counted(tensor));
    end += 1;
  }
  yield* section({ end });
}

const elements = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

const list = async (folder: string): Promise<readonly { path: string; step: number }[]> => {
  const names = await readdir(folder).catch(() => []);
  return names
    .flatMap((name) => {
      const step = /^step-(\d+)\.snapshot$/.exec(name)?.[1];
      return step === undefined ? [] : [{ path: join(folder, name), step: Number(step) }];
    })
    .sort((a, b) => b.step - a.step);
};

/**
 * Saves the tensors as they are after `step` steps, and removes all snapshots but the latest `keep`, this one included. Only
 * a piece of a tensor at a time is in memory. The journal must be synced up to `step` first.
 *
 * @returns the snapshot's path
 * @throws ZerothError when the disk is full; earlier snapshots are then untouched
 */
export const writeSnapshot = async (
  folder: string,
  step: number,
  tensors: AsyncIterable<TensorToSnapshot>,
  keep = 2,
): Promise<string> => {
  const path = join(folder, `step-${step}${ENDING}`);
  await mkdir(folder, { recursive: true }).catch((error: unknown) => {
    throw writeError(folder, error);
  });
  await writeFileAtomic(path, file(step, tensors));
  const all = await list(folder);
  // Whatever is ahead of this step belongs to a past that is gone.
  const kept = all.filter((other) => other.step <= step).slice(0, keep);
  for (const other of all) if (!kept.includes(other)) await rm(other.path, { force: true });
  return path;
};

async function* sections(path: string, keep: boolean): AsyncGenerator<SnapshotTensor> {
  const damaged = (what: string, cause?: unknown): ZerothError =>
    new ZerothError(`${path} is damaged: ${what}.\nDelete it: the run goes on from the journal.`, { cause });
  const handle = await open(path, "r").catch((error: unknown) => {
    throw damaged(messageOf(error), error);
  });
  try {
    const { size } = await handle.stat();
    let offset = 0;
    const fill = async (bytes: Uint8Array): Promise<Uint8Array> => {
      for (let done = 0; done < bytes.length; ) {
        const { bytesRead } = await handle.read(bytes, done, bytes.length - done, offset + done);
        if (bytesRead === 0) throw damaged("it ends too early");
        done += bytesRead;
      }
      offset += bytes.length;
      return bytes;
    };
    const word = async (): Promise<number> => Buffer.from(await fill(new Uint8Array(4))).readUInt32LE();
    const entry = async () => {
      const length = await word();
      if (length > Math.min(LARGEST_JSON, size - offset)) throw damaged("a section's header is longer than the file");
      const text = await fill(new Uint8Array(length));
      try {
        const value = z.union([startSchema, tensorSchema, endSchema]).parse(JSON.parse(Buffer.from(text).toString()));
        return { value, crc: crc32(text) };
      } catch (error) {
        throw damaged("a section's header cannot be read", error);
      }
    };
    const check = async (crc: number): Promise<void> => {
      if ((await word()) !== crc) throw damaged("a checksum does not match");
    };

    const head = await fill(new Uint8Array(MAGIC.length));
    if (!MAGIC.every((byte, index) => byte === head[index])) throw damaged("it is no snapshot of this version");
    const scratch = new Uint8Array(keep ? 0 : SLICE);
    let tensors = 0;
    for (let first = true; ; first = false) {
      const { value, crc } = await entry();
      if (first !== "step" in value) throw damaged("its sections are out of order");
      if ("end" in value) {
        await check(crc);
        if (value.end !== tensors || offset !== size) throw damaged("its sections are out of order");
        return;
      }
      if ("step" in value) {
        await check(crc);
        continue;
      }
      const length = 4 * elements(value.shape);
      if (!(length <= size - offset)) throw damaged(`${value.name} is longer than the file`);
      const data = new Float32Array(keep ? length / 4 : 0);
      let sum = crc;
      for (let start = 0; start < length; start += SLICE) {
        const stop = Math.min(start + SLICE, length);
        sum = crc32(await fill(keep ? bytesOf(data).subarray(start, stop) : scratch.subarray(0, stop - start)), sum);
      }
      await check(sum);
      tensors += 1;
      yield { name: value.name, shape: value.shape, data };
    }
  } finally {
    await handle.close();
  }
}

/**
 * The tensors of a snapshot in the order they were written, one in memory at a time, each checked before it is handed out.
 *
 * @throws ZerothError when the file is damaged; tensors before the damage were already handed out (see `newestSnapshot`)
 */
export const readSnapshot = (path: string): AsyncIterable<SnapshotTensor> => sections(path, true);

/** The newest whole snapshot of at most `stepCount` steps; damaged ones and those ahead of the journal are passed over. */
export const newestSnapshot = async (
  folder: string,
  stepCount: number,
): Promise<{ path: string; step: number } | undefined> => {
  for (const snapshot of await list(folder)) {
    if (snapshot.step > stepCount) continue;
    try {
      for await (const _ of sections(snapshot.path, false));
      return snapshot;
    } catch (error) {
      if (!(error instanceof ZerothError)) throw error;
    }
  }
  return undefined;
};
