import { ZerothError } from "../errors.js";
import { readSafetensorsHeader, writeSafetensors } from "../model/safetensors.js";
import { elementsOf, readTensorSync } from "../model/weights.js";
import { oneLine } from "../one-line.js";
import type { Trainable } from "./method.js";

/*
 * A stored mask (SensZOQ, arXiv 2406.02913): a safetensors file with an I32 tensor for each weight tensor, by its name, of the numbers of
 * the elements that may move, ascending. Tensors that it does not name stay as they are.
 */

/**
 * @throws ZerothError that names the file and the tensor that is unknown, or whose numbers are out of range or order
 */
export const readMask = (
  path: string,
  tensors: readonly Pick<Trainable, "name" | "shape">[],
): ReadonlyMap<string, Uint32Array> => {
  const masks = new Map<string, Uint32Array>();
  for (const source of readSafetensorsHeader(path, "indices")) {
    const tensor = tensors.find(({ name }) => name === source.name);
    if (tensor === undefined)
      throw new ZerothError(
        `${path}: ${oneLine(source.name)} is no tensor that this run trains.\nGive the mask of this model and method.`,
      );
    const size = elementsOf(tensor.shape);
    const elements = new Uint32Array(readTensorSync(source).buffer);
    const wrong = elements.findIndex((element, i) => element >= size || element <= (elements[i - 1] ?? -1));
    if (wrong >= 0)
      throw new ZerothError(
        `${path}: ${oneLine(source.name)} lists ${elements[wrong]} at place ${wrong}; elements are 0 to ${size - 1}, ascending, each once.`,
      );
    masks.set(source.name, elements);
  }
  // A plane is empty where nothing is listed.
  for (const { name } of tensors) if (!masks.has(name)) masks.set(name, new Uint32Array());
  return masks;
};

/** Writes a mask. @throws ZerothError when the disk is full */
export const writeMask = (path: string, masks: ReadonlyMap<string, Uint32Array>): Promise<void> =>
  writeSafetensors(
    path,
    [...masks].map(([name, elements]) => ({
      ...{ name, shape: [elements.length], dtype: "I32" as const },
      bytes: () => new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength),
    })),
  );
