import { createReadStream, statSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { messageOf, ZerothError } from "../errors.js";

type Fields = Readonly<Record<string, unknown>>;

const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const parsed = (text: string, where: string): Fields => {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ZerothError(`${where}: not JSON: ${messageOf(error).slice(0, 120)}\nA row is one JSON object a line.`, {
      cause: error,
    });
  }
  if (isFields(value)) return value;
  throw new ZerothError(`${where}: expected an object such as {"text": "…"}.`);
};

/**
 * JSON rows from a file (in a folder: its `validation.jsonl`), or from standard input, as they arrive.
 * @throws ZerothError naming the file and line
 */
export async function* rowsOf(data: string | undefined): AsyncGenerator<Fields> {
  const info = data === undefined ? undefined : statSync(data, { throwIfNoEntry: false });
  if (data !== undefined && info === undefined)
    throw new ZerothError(`No data at ${data}. Give a .jsonl file, or rows on standard input.`);
  const file = data !== undefined && info?.isDirectory() ? join(data, "validation.jsonl") : data;
  const name = file ?? "standard input";
  let line = 0;
  try {
    for await (const text of createInterface({
      input: file === undefined ? process.stdin : createReadStream(file),
      crlfDelay: Number.POSITIVE_INFINITY,
    })) {
      line++;
      if (text.trim() !== "") yield parsed(text, `${name}:${line}`);
    }
  } catch (error) {
    if (error instanceof Error && "syscall" in error)
      throw new ZerothError(`Cannot read ${name}: ${error.message}`, { cause: error });
    throw error;
  }
  if (line === 0) throw new ZerothError(`${name} holds no rows.`);
}
