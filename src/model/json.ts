import { readFileSync } from "node:fs";
import { messageOf, ZerothError } from "../errors.js";

export type Json = Readonly<Record<string, unknown>>;

/** @throws ZerothError when the file is missing, is no JSON, or no object */
export const readJson = (file: string): Json => {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new ZerothError(`${file} cannot be read as JSON: ${messageOf(error).slice(0, 120)}.`, { cause: error });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new ZerothError(`${file} holds no JSON object.`);
  return value as Json;
};
