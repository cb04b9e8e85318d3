import { dataFile, jsonRows, readRows } from "../data/rows.js";

/**
 * The rows of a `.jsonl` or `.csv` file (of a folder: its validation file), or of a stream of JSON lines as they arrive.
 * @throws ZerothError naming the file and line
 */
export async function* rows(
  source: string | AsyncIterable<Uint8Array>,
): AsyncGenerator<Readonly<Record<string, unknown>>> {
  const read =
    typeof source === "string"
      ? await readRows(await dataFile(source, "validation"))
      : jsonRows(source, "standard input");
  for await (const { fields } of read) yield fields;
}
