import { readFileSync } from "node:fs";
import { messageOf, ZerothError } from "../errors.js";
import { oneLine } from "../one-line.js";

export type Json = Readonly<Record<string, unknown>>;

export const isJson = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** @throws ZerothError when the file cannot be read */
export const readText = (file: string): string => {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new ZerothError(`${file} cannot be read: ${messageOf(error)}.`, { cause: error });
  }
};

/** @throws ZerothError when the file cannot be read or does not hold a JSON object */
export const readJson = (file: string): Json => {
  const text = readText(file);
  if (text.trim() === "") throw new ZerothError(`${file} is empty: fetch or copy it again.`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ZerothError(
      `${file} is not JSON (${oneLine(messageOf(error), 120)}).\nIt is damaged or cut short: fetch or copy it again.`,
      {
        cause: error,
      },
    );
  }
  if (!isJson(value)) throw new ZerothError(`${file} does not hold a JSON object.`);
  return value;
};
