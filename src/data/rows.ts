import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "csv-parse/sync";
import { messageOf, ZerothError } from "../errors.js";

/** One row as it was published. */
export interface Row {
  readonly fields: Readonly<Record<string, unknown>>;
  readonly file: string;
  /** Counted from 1; in a CSV, the line where the row ends. */
  readonly line: number;
}

/** Where a row stands, for messages. */
export const placeOf = ({ file, line }: Pick<Row, "file" | "line">): string => `${file}:${line}`;

/** Of an untrusted text, enough for a message. */
const excerpt = (text: string): string => {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > 100 ? `${line.slice(0, 100)}…` : line;
};

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * One line of a JSONL file; nothing for a blank one.
 * @throws ZerothError when it is not a JSON object
 */
const parseJsonLine = (text: string, file: string, line: number): Row | undefined => {
  if (text.trim() === "") return undefined;
  let fields: unknown;
  try {
    fields = JSON.parse(text);
  } catch (error) {
    throw new ZerothError(
      `${file}:${line}: not JSON: ${excerpt(messageOf(error))}\nA JSONL file holds one JSON object a line.`,
      { cause: error },
    );
  }
  if (isRecord(fields)) return { fields, file, line };
  throw new ZerothError(
    `${file}:${line}: expected an object such as {"text": "…", "label": 0}, found ${excerpt(text)}`,
  );
};

/** The rows of a stream of JSON lines, UTF-8, as they arrive. Blank lines are skipped but counted. */
export async function* jsonRows(chunks: AsyncIterable<Uint8Array>, file: string): AsyncGenerator<Row, void, undefined> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let pieces: Uint8Array[] = [];
  let line = 0;
  const finish = (): Row | undefined => {
    const bytes = Buffer.concat(pieces);
    pieces = [];
    line++;
    let text: string;
    try {
      text = decoder.decode(bytes);
    } catch (error) {
      throw new ZerothError(`${file}:${line}: not UTF-8 text. Save the file as UTF-8.`, { cause: error });
    }
    return parseJsonLine(text, file, line);
  };
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      pieces.push(chunk.subarray(start, end));
      start = end + 1;
      const row = finish();
      if (row !== undefined) yield row;
    }
    pieces.push(chunk.subarray(start));
  }
  const row = finish();
  if (row !== undefined) yield row;
}

const readJsonl = async (file: string): Promise<Row[]> => {
  const rows: Row[] = [];
  for await (const row of jsonRows(createReadStream(file), file)) rows.push(row);
  return rows;
};

interface CsvRecord {
  readonly record: Record<string, string>;
  readonly info: { readonly lines: number };
}

const readCsv = async (file: string): Promise<Row[]> => {
  const bytes = await readFile(file);
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    const records: unknown = parse(text, { columns: true, info: true, skip_empty_lines: true });
    return (records as CsvRecord[]).map(({ record, info }) => ({ fields: record, file, line: info.lines }));
  } catch (error) {
    throw new ZerothError(
      `${file}: not readable as CSV with a header row: ${excerpt(messageOf(error))}\nQuote fields that hold commas, quotes or line breaks.`,
      { cause: error },
    );
  }
};

const kindOf = async (path: string): Promise<"file" | "folder" | "missing"> => {
  try {
    return (await stat(path)).isDirectory() ? "folder" : "file";
  } catch {
    return "missing";
  }
};

/**
 * The file that holds a split: `data` itself where it is a file, else `train.jsonl` or `validation.jsonl` (or `.csv`) in it.
 * @throws ZerothError when there is none
 */
export const dataFile = async (data: string, split: "train" | "validation"): Promise<string> => {
  const kind = await kindOf(data);
  if (kind === "file") return data;
  if (kind === "missing")
    throw new ZerothError(`No data at ${data}. Give a .jsonl or .csv file, or a folder with ${split}.jsonl.`);
  for (const extension of [".jsonl", ".csv"]) {
    const file = join(data, `${split}${extension}`);
    if ((await kindOf(file)) === "file") return file;
  }
  throw new ZerothError(`${data} holds no ${split}.jsonl and no ${split}.csv. Add one, or give the file itself.`);
};

/**
 * All rows of a `.csv` file (with a header row; every field is text) or, whatever its name, a JSONL file.
 * @throws ZerothError naming the file (and the line) when it is missing, unreadable, malformed, or holds no rows
 */
export const readRows = async (file: string): Promise<readonly Row[]> => {
  const read = file.toLowerCase().endsWith(".csv") ? readCsv : readJsonl;
  let rows: readonly Row[];
  try {
    rows = await read(file);
  } catch (error) {
    if (error instanceof ZerothError) throw error;
    throw new ZerothError(`Cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
  if (rows.length === 0) throw new ZerothError(`${file} holds no rows.`);
  return rows;
};
