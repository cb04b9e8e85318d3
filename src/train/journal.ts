import {
  closeSync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  writeSync,
} from "node:fs";
import { crc32 } from "node:zlib";
import { z } from "zod";
import { writeError, writeFileAtomic } from "../atomic.js";
import { measures } from "../data/task.js";
import { messageOf, ZerothError } from "../errors.js";

/*
 * The journal is the checkpoint: base weights + journal = tuned weights, bit for bit. The file is
 *
 *   "ZEROTHJ" u8 version, then frames [u32 length of payload][u32 crc32 of kind and payload][u8 kind][payload],
 *
 * little-endian; the first frame is the header. A frame is written by one call, so that a killed process leaves at most
 * one torn frame, at the end; a reader drops it.
 */

/** What happened in a step: what it takes to repeat it without running the model. */
export interface StepRecord {
  /** Counts from 0, without gaps. */
  readonly step: number;
  /** A loss or a number was not finite: the weights were visited but not updated. */
  readonly refused: boolean;
  /** In the order of evaluation. */
  readonly losses: Float32Array;
  /** Every number that the step's updates read: coefficients, then scalars by name. */
  readonly numbers: Float32Array;
}

const VERSION = 2;
const MAGIC = Uint8Array.from([..."ZEROTHJ"].map((letter) => letter.charCodeAt(0)).concat(VERSION));
const FRAME = 9;
const LARGEST_PAYLOAD = 2 ** 24;
const LARGEST_JOURNAL = 2 ** 31 - 1;
const SYNC_MILLISECONDS = 1000;
const KINDS = { header: 1, base: 2, step: 3, note: 4 } as const;
const LAST_KIND = Math.max(...Object.values(KINDS));

const headerSchema = z.strictObject({
  /** Version of Zeroth that started the run. */
  zeroth: z.string(),
  model: z.strictObject({
    /** As the user gave it. */
    origin: z.string(),
    /** A quick one (names, sizes, first bytes); the files' hashes follow in a frame of their own. */
    fingerprint: z.string(),
  }),
  /** Hash of the file of rows. */
  data: z.string(),
  /** Rows of an epoch. */
  trainRows: z.int().positive(),
  /** Every option of the run, defaults filled in. */
  options: z.record(z.string(), z.unknown()),
  /** Rounds of Philox. */
  rounds: z.int().positive(),
  /** How a point is visited: the weights walk there and back, which rounds, or copies of them do. */
  mode: z.enum(["in-place", "copies"]),
  /** Hash of the trainable tensors' names and shapes. */
  parameters: z.string(),
  runtime: z.strictObject({ name: z.string(), version: z.string(), threads: z.int().positive() }),
  /** Version of the kernels' arithmetic. */
  kernels: z.int().positive(),
});

const baseSchema = z.strictObject({ sha256: z.record(z.string(), z.string()) });

// JSON has no NaN and writes null for it.
const figure = z
  .number()
  .nullable()
  .transform((value) => value ?? Number.NaN);
const step = z.int().min(0);

const noteSchema = z.discriminatedUnion("note", [
  z.strictObject({ note: z.literal("refused"), step, reason: z.string() }),
  z.strictObject({
    note: z.literal("evaluation"),
    /** Steps taken before it. */
    step,
    metric: z.enum(measures),
    value: figure,
    best: z.boolean(),
  }),
  z.strictObject({ note: z.literal("resumed"), step, zeroth: z.string(), runtime: headerSchema.shape.runtime }),
  /** The result is written: as long as no step follows, there is nothing left to do. */
  z.strictObject({
    note: z.literal("finished"),
    step,
    /** Steps that the kept weights have seen. */
    keptStep: step,
    outcome: z.enum(["finished", "stopped early"]),
    loss: figure,
    secondsPerStep: figure,
    peakRssBytes: figure,
  }),
]);

export type JournalHeader = z.output<typeof headerSchema>;
/** SHA-256 of each weight file of the base, hexadecimal. */
export type BaseHashes = z.output<typeof baseSchema>;
export type JournalNote = z.output<typeof noteSchema>;
export type FinishedNote = Extract<JournalNote, { note: "finished" }>;

const STEP = 9;
const REFUSED = 1;

/** A step record's bytes: u32 step, u8 flags, u32 number of losses, the fp32 losses, and the fp32 numbers to the end. */
export const encodeStep = ({ step, refused, losses, numbers }: StepRecord): Uint8Array => {
  const bytes = new Uint8Array(STEP + 4 * (losses.length + numbers.length));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, step, true);
  view.setUint8(4, refused ? REFUSED : 0);
  view.setUint32(5, losses.length, true);
  for (const [index, value] of [...losses, ...numbers].entries()) view.setFloat32(STEP + 4 * index, value, true);
  return bytes;
};

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** The step's number if the bytes have the shape of a record. */
const stepNumber = (bytes: Uint8Array): number | undefined => {
  if (bytes.length < STEP || bytes.length % 4 !== STEP % 4) return undefined;
  const view = viewOf(bytes);
  return view.getUint8(4) <= REFUSED && view.getUint32(5, true) <= (bytes.length - STEP) / 4
    ? view.getUint32(0, true)
    : undefined;
};

/** @throws RangeError when the bytes are no step record */
export const decodeStep = (bytes: Uint8Array): StepRecord => {
  const step = stepNumber(bytes);
  if (step === undefined) throw new RangeError("these bytes are no step record");
  const view = viewOf(bytes);
  const losses = view.getUint32(5, true);
  const values = new Float32Array((bytes.length - STEP) / 4).map((_, i) => view.getFloat32(STEP + 4 * i, true));
  return {
    step,
    refused: view.getUint8(4) === REFUSED,
    losses: values.slice(0, losses),
    numbers: values.slice(losses),
  };
};

const frame = (kind: number, payload: Uint8Array): Uint8Array => {
  if (payload.length > LARGEST_PAYLOAD) throw new RangeError(`a journal record of ${payload.length} bytes`);
  const bytes = new Uint8Array(FRAME + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, payload.length, true);
  view.setUint8(8, kind);
  bytes.set(payload, FRAME);
  view.setUint32(4, crc32(bytes.subarray(8)), true);
  return bytes;
};

const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));

/** Length of the payload of the frame at `offset`, if a whole and sound frame is there. */
const soundFrame = (bytes: Uint8Array, offset: number): number | undefined => {
  if (offset + FRAME > bytes.length) return undefined;
  const view = viewOf(bytes);
  const length = view.getUint32(offset, true);
  const kind = view.getUint8(offset + 8);
  if (kind < 1 || kind > LAST_KIND || length > Math.min(LARGEST_PAYLOAD, bytes.length - offset - FRAME))
    return undefined;
  return crc32(bytes.subarray(offset + 8, offset + FRAME + length)) === view.getUint32(offset + 4, true)
    ? length
    : undefined;
};

/**
 * Is there a sound frame anywhere after a broken one? Then the file was damaged, not torn. A crafted file could make every
 * offset costly to check, so the work is bounded; a journal too long to tell is taken for damaged, and nothing is dropped.
 */
const moreFollows = (bytes: Uint8Array, broken: number): boolean => {
  let work = 2 ** 28;
  for (let offset = broken + 1; offset + FRAME <= bytes.length; offset += 1) {
    if (soundFrame(bytes, offset) !== undefined) return true;
    work -= 64;
    const kind = bytes[offset + 8] ?? 0;
    if (kind >= 1 && kind <= LAST_KIND) work -= Math.min(viewOf(bytes).getUint32(offset, true), bytes.length - offset);
    if (work < 0) return true;
  }
  return false;
};

export interface Journal {
  readonly header: JournalHeader;
  /** Absent until the base's files were hashed, which goes on beside the first steps. */
  readonly base: BaseHashes | undefined;
  /** Steps 0 … stepCount − 1 in order, decoded as they are read. */
  readonly steps: Iterable<StepRecord>;
  readonly stepCount: number;
  readonly notes: readonly JournalNote[];
  /** Set when the run is finished. */
  readonly finished: FinishedNote | undefined;
  /** Bytes of a torn last record, not read. */
  readonly tornBytes: number;
  /** Bytes of everything before it. */
  readonly soundBytes: number;
}

const readBytes = (path: string): Uint8Array => {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    throw new ZerothError(`${path} cannot be read: ${messageOf(error)}.\nGive the folder of a run (finetune --out).`, {
      cause: error,
    });
  }
  try {
    const { size } = fstatSync(fd);
    const head = new Uint8Array(MAGIC.length);
    const read = readSync(fd, head, 0, head.length, 0);
    const name = MAGIC.subarray(0, -1);
    if (read < head.length || !name.every((byte, index) => byte === head[index]) || size > LARGEST_JOURNAL) {
      throw new ZerothError(`${path} is not the journal of a run.\nGive the folder of a run (finetune --out).`);
    }
    if (head.at(-1) !== VERSION) {
      throw new ZerothError(
        `${path} has version ${head.at(-1)} of the journal's format; this Zeroth reads version ${VERSION}.\n` +
          "Use the version of Zeroth that made it, or start a new run.",
      );
    }
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
};

/**
 * Reads a run's journal. A torn last record, as a killed process or a power cut leaves it, is left out and counted.
 *
 * @throws ZerothError that names the file and the byte where it is damaged in the middle, or that it is no journal
 */
export const readJournal = (path: string): Journal => {
  const bytes = readBytes(path);
  const damaged = (offset: number, what: string): ZerothError =>
    new ZerothError(`${path} is damaged at byte ${offset}: ${what}.\nRestore the file, or start a new run.`);
  const parse = <T>(schema: z.ZodType<T>, payload: Uint8Array, offset: number): T => {
    try {
      return schema.parse(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload)));
    } catch (error) {
      const what = error instanceof z.ZodError ? `${error.issues[0]?.path.join(".")}: ${error.issues[0]?.message}` : "";
      throw damaged(offset, `a record that this version cannot read ${what}`.trim());
    }
  };

  let header: JournalHeader | undefined;
  let base: BaseHashes | undefined;
  let finished: FinishedNote | undefined;
  const notes: JournalNote[] = [];
  const steps: Uint8Array[] = [];
  // One reader a kind; each sees its payload and where the frame starts.
  const readers: Readonly<Record<number, (payload: Uint8Array, offset: number) => void>> = {
    [KINDS.header]: (payload, offset) => {
      if (header !== undefined) throw damaged(offset, "a second header");
      header = parse(headerSchema, payload, offset);
    },
    [KINDS.base]: (payload, offset) => {
      base = parse(baseSchema, payload, offset);
    },
    [KINDS.step]: (payload, offset) => {
      if (stepNumber(payload) !== steps.length) throw damaged(offset, `not the record of step ${steps.length}`);
      steps.push(payload);
      finished = undefined;
    },
    [KINDS.note]: (payload, offset) => {
      const note = parse(noteSchema, payload, offset);
      notes.push(note);
      if (note.note === "finished") finished = note;
    },
  };

  let offset = MAGIC.length;
  while (offset < bytes.length) {
    const length = soundFrame(bytes, offset);
    if (length === undefined) {
      if (!moreFollows(bytes, offset)) break;
      const stays =
        steps.length === 0 ? "" : ` Cut there (truncate -s ${offset}), it still holds ${steps.length} steps.`;
      throw damaged(offset, `a record's checksum does not match, and more records follow.${stays}`);
    }
    const kind = bytes[offset + 8] ?? 0;
    if (header === undefined && kind !== KINDS.header) throw damaged(offset, "the header is missing");
    readers[kind]?.(bytes.subarray(offset + FRAME, offset + FRAME + length), offset);
    offset += FRAME + length;
  }
  if (header === undefined) throw damaged(offset, "the header is missing");
  return {
    header,
    base,
    steps: {
      *[Symbol.iterator]() {
        for (const payload of steps) yield decodeStep(payload);
      },
    },
    stepCount: steps.length,
    notes,
    finished,
    tornBytes: bytes.length - offset,
    soundBytes: offset,
  };
};

/** What an open journal takes. Every call returns when the record is handed to the system, in order. */
export interface JournalWriter {
  /** @throws ZerothError when the disk is full; the journal then ends with the record before */
  append(record: StepRecord): void;
  note(note: JournalNote): void;
  base(hashes: BaseHashes): void;
  /** Waits until everything is on the disk. Happens by itself at least each second. */
  sync(): void;
  close(): void;
}

const writer = (path: string, fd: number, start: number): JournalWriter => {
  let end = start;
  let firstUnsynced: number | undefined;
  let timer: NodeJS.Timeout | undefined;
  let failure: unknown;

  const sync = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (failure !== undefined) throw failure;
    if (firstUnsynced === undefined) return;
    try {
      fdatasyncSync(fd);
      firstUnsynced = undefined;
    } catch (error) {
      // After a failed sync the system may have dropped the pages: nothing written since the last one can be counted on.
      failure = writeError(path, error);
      throw failure;
    }
  };

  const put = (kind: number, payload: Uint8Array): void => {
    if (failure !== undefined) throw failure;
    const bytes = frame(kind, payload);
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, end + done);
    } catch (error) {
      try {
        ftruncateSync(fd, end);
      } catch {
        // A torn record is dropped by the next reader.
      }
      throw writeError(path, error);
    }
    end += bytes.length;
    firstUnsynced ??= performance.now();
    // The timer serves a run that pauses after a step; the clock one whose steps leave no turn to timers.
    if (performance.now() - firstUnsynced >= SYNC_MILLISECONDS) sync();
    else
      timer ??= setTimeout(() => {
        try {
          sync();
        } catch {
          // Kept in `failure`, and thrown at the next record.
        }
      }, SYNC_MILLISECONDS * 0.8).unref();
  };

  return {
    append: (record) => put(KINDS.step, encodeStep(record)),
    note: (note) => put(KINDS.note, json(note)),
    base: (hashes) => put(KINDS.base, json(hashes)),
    sync,
    close() {
      try {
        sync();
      } finally {
        closeSync(fd);
      }
    },
  };
};

/**
 * Starts a journal. It appears with its header whole or not at all.
 *
 * @throws ZerothError when the file cannot be written
 */
export const createJournal = async (path: string, header: JournalHeader): Promise<JournalWriter> => {
  const start = Buffer.concat([MAGIC, frame(KINDS.header, json(headerSchema.parse(header)))]);
  await writeFileAtomic(path, start);
  return writer(path, openSync(path, "r+"), start.length);
};

/**
 * Opens a journal to go on with it; a torn last record is cut off.
 *
 * @throws ZerothError as `readJournal` does, or when the file cannot be written
 */
export const reopenJournal = (path: string): { journal: Journal; writer: JournalWriter } => {
  const journal = readJournal(path);
  let fd: number;
  try {
    fd = openSync(path, "r+");
    if (journal.tornBytes > 0) {
      ftruncateSync(fd, journal.soundBytes);
      fdatasyncSync(fd);
    }
  } catch (error) {
    throw writeError(path, error);
  }
  return { journal, writer: writer(path, fd, journal.soundBytes) };
};

const optionName = (name: string): string => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
const shown = (value: unknown): string => JSON.stringify(value) ?? "nothing";

/**
 * In what a run that is about to go on differs from the one that the journal was made with, in words; empty when in nothing
 * that its weights depend on. `free` names options that may differ.
 */
export const differences = (
  journaled: JournalHeader,
  now: JournalHeader,
  free: readonly string[] = [],
): readonly string[] => {
  const names = [...new Set([...Object.keys(journaled.options), ...Object.keys(now.options)])].filter(
    (name) => !free.includes(name),
  );
  const pairs: readonly (readonly [string, unknown, unknown])[] = [
    ["the base model", journaled.model.fingerprint, now.model.fingerprint],
    ["the data", journaled.data, now.data],
    ["the rows to train on", journaled.trainRows, now.trainRows],
    ...names.map((name) => [optionName(name), journaled.options[name], now.options[name]] as const),
    ["the trainable parameters", journaled.parameters, now.parameters],
    ["the way points are visited", journaled.mode, now.mode],
    ["the noise (rounds of Philox)", journaled.rounds, now.rounds],
    ["the kernels' arithmetic (version)", journaled.kernels, now.kernels],
  ];
  return pairs
    .filter(([, before, after]) => shown(before) !== shown(after))
    .map(([what, before, after]) => `${what} (${shown(before)} then, ${shown(after)} now)`);
};

/** @throws ZerothError that says in what the base model, the data or the options differ from the journal's */
export const requireSameRun = (
  path: string,
  journaled: JournalHeader,
  now: JournalHeader,
  free: readonly string[] = [],
): void => {
  const found = differences(journaled, now, free);
  if (found.length === 0) return;
  throw new ZerothError(
    `${path} was made with another run: ${found.slice(0, 4).join(", ")}${found.length > 4 ? ", …" : ""}.\n` +
      "Give what it was made with, or start a new run in another --out.",
  );
};
