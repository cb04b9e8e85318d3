import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { writeError, writeFileAtomic } from "../atomic.js";

/** One line of the metrics file: `step` and whatever was measured there. */
type Metric = Readonly<{ step: number } & Record<string, string | number | boolean>>;

export interface MetricsWriter {
  /** @throws ZerothError when the disk is full */
  write(metric: Metric): void;
  close(): void;
}

const stepOf = (line: string): number => {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null && "step" in value && typeof value.step === "number"
      ? value.step
      : Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
};

/**
 * Opens a metrics file (JSON Lines). Lines of steps after `keep`, which a resumed run measures again, and a torn last line
 * are dropped; `keep` 0 starts afresh.
 */
export const openMetrics = async (path: string, keep: number): Promise<MetricsWriter> => {
  let kept = "";
  try {
    const lines = readFileSync(path, "utf8").split("\n");
    kept = lines
      .filter((line) => stepOf(line) <= keep)
      .map((line) => `${line}\n`)
      .join("");
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw writeError(path, error);
  }
  await writeFileAtomic(path, keep === 0 ? "" : kept);
  const fd = openSync(path, "a");
  return {
    write(metric) {
      try {
        writeSync(fd, `${JSON.stringify(metric)}\n`);
      } catch (error) {
        throw writeError(path, error);
      }
    },
    close: () => closeSync(fd),
  };
};
