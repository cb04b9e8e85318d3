import { closeSync, fsyncSync, openSync, statfsSync } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { messageOf, ZerothError } from "./errors.js";

/** Ending of a file that is being written; it takes its own name when it is whole. A killed process may leave one behind. */
export const PARTIAL = ".partial";

type Chunks = Uint8Array | string | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

const codeOf = (error: unknown): unknown => (error instanceof Error && "code" in error ? error.code : undefined);

const freeMebibytes = (folder: string): string => {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return `${Math.floor((bavail * bsize) / 2 ** 20)} MiB free`;
  } catch {
    return "free space unknown";
  }
};

/** What stands in the way of more bytes. */
const full: Readonly<Record<string, string>> = {
  ENOSPC: "The disk is full",
  EDQUOT: "The disk quota is used up",
  EFBIG: "Files may not grow that large here (ulimit -f)",
};

/** What failed to be written, as an error that the user can act on; anything but a failure of the file system is left as it is. */
export const writeError = (path: string, error: unknown): unknown => {
  const code = codeOf(error);
  if (error instanceof ZerothError || typeof code !== "string" || !/^E[A-Z]+$/.test(code)) return error;
  const why = full[code];
  if (why !== undefined) {
    return new ZerothError(
      `${why} (${freeMebibytes(dirname(path))}): ${path} could not be written.\n` +
        "Nothing that was there before is lost. Make room and run the command again (a run goes on with --resume).",
      { cause: error },
    );
  }
  const fix = "Check that the folder exists and may be written.";
  return new ZerothError(`${path} cannot be written: ${messageOf(error)}.\n${fix}`, { cause: error });
};

/** Makes a rename or a new file of `folder` survive a power cut. Platforms that cannot open a folder do without. */
const syncFolder = (folder: string): void => {
  let fd: number;
  try {
    fd = openSync(folder, "r");
  } catch {
    return;
  }
  try {
    fsyncSync(fd);
  } catch (error) {
    // Windows and some network file systems have no such thing; a real I/O error would have failed the file's own sync.
    if (codeOf(error) === "EIO") throw error;
  } finally {
    closeSync(fd);
  }
};

const pieces = (chunks: Chunks): Iterable<Uint8Array> | AsyncIterable<Uint8Array> =>
  typeof chunks === "string" ? [Buffer.from(chunks)] : chunks instanceof Uint8Array ? [chunks] : chunks;

// One write call moves at most 2 GiB; far smaller ones keep the runtime's own buffers small.
const LARGEST_WRITE = 2 ** 26;

const writeAll = async (file: FileHandle, bytes: Uint8Array): Promise<void> => {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, Math.min(bytes.length - done, LARGEST_WRITE));
    done += bytesWritten;
  }
};

/**
 * Writes a file so that a reader, a crash or a full disk only ever sees the old content or the whole new one: a neighbour
 * is written, synced, renamed over `path`, and the folder synced. Chunks are written as they come, none is kept.
 *
 * @throws ZerothError when the disk is full or the folder may not be written; the old file is then untouched
 */
export const writeFileAtomic = async (path: string, chunks: Chunks): Promise<void> => {
  const partial = path + PARTIAL;
  try {
    const file = await open(partial, "w");
    try {
      for await (const bytes of pieces(chunks)) await writeAll(file, bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(partial, path);
    syncFolder(dirname(path));
  } catch (error) {
    await rm(partial, { force: true }).catch(() => undefined);
    throw writeError(path, error);
  }
};
