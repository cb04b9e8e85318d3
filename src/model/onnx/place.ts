import { realpathSync } from "node:fs";
import { dirname, isAbsolute, join, relative, sep } from "node:path";
import { ZerothError } from "../../errors.js";
import { oneLine } from "../../one-line.js";

const isInside = (folder: string, path: string): boolean => {
  const way = relative(folder, path);
  return way !== "" && way.split(sep)[0] !== ".." && !isAbsolute(way);
};

/** Folders that a model's files may lie in: its own, and the blobs that the files of a hub snapshot are links to. */
const homesOf = (root: string): readonly string[] => {
  const own = realpathSync(root);
  const steps = own.split(sep);
  // The model may be a folder within the snapshot.
  const snapshots = steps.lastIndexOf("snapshots", -2);
  if (snapshots < 0) return [own];
  const blobs = join(steps.slice(0, snapshots).join(sep), "blobs");
  try {
    return realpathSync(blobs) === blobs ? [own, blobs] : [own];
  } catch {
    return [own];
  }
};

/**
 * The real path of a file that an ONNX file keeps weights in.
 *
 * @param root the model's folder, which no weights may lie outside of, links resolved
 * @param file the ONNX file; the location is relative to its folder
 * @throws ZerothError for a location that leaves the folder, or names no file
 */
export const placeOf = (root: string, file: string, location: string): string => {
  const shown = JSON.stringify(oneLine(location, 80));
  const leaves = new ZerothError(
    `${file} keeps weights in ${shown}, which is outside the model's folder ${root}: refused.\nGet the model anew, or put its files into one folder.`,
  );
  if (location === "" || location.includes("\0") || isAbsolute(location) || /^[A-Za-z]:|\\/.test(location))
    throw leaves;
  const path = join(dirname(file), location);
  if (!isInside(root, path)) throw leaves;
  let real: string;
  try {
    real = realpathSync(path);
  } catch (error) {
    throw new ZerothError(
      `${file} keeps weights in ${shown}, which is not there.\nThe download is incomplete: fetch it again.`,
      { cause: error },
    );
  }
  if (!homesOf(root).some((home) => isInside(home, real))) throw leaves;
  return real;
};
