import { openSync, readSync, realpathSync } from "node:fs";
import { messageOf, ZerothError } from "../errors.js";

/** Opens a file to read it. @returns its descriptor and its real path @throws ZerothError that names it */
export const openToRead = (path: string): { readonly fd: number; readonly file: string } => {
  try {
    const file = realpathSync(path);
    return { fd: openSync(file, "r"), file };
  } catch (error) {
    throw new ZerothError(`${path} cannot be read: ${messageOf(error)}.`, { cause: error });
  }
};

/** Fills all of `bytes` from a place of a file. @param cutShort the error where the file ends before */
export const fill = (fd: number, bytes: Uint8Array, offset: number, cutShort: () => Error): void => {
  for (let done = 0; done < bytes.length; ) {
    const read = readSync(fd, bytes, done, bytes.length - done, offset + done);
    if (read === 0) throw cutShort();
    done += read;
  }
};
