// Peak resident memory of whole processes.
import { child, memo, ROWS } from "../children.mjs";
import { gguf, rowsFile } from "../setup.mjs";
import { published, theirs } from "./peers.mjs";

const mebibytes = (bytes) => `${Math.round(bytes / 2 ** 20)} MiB`;

export const memoryFigures = (model) => {
  const peak = memo((what, of = model) =>
    child("bench/memory.mjs", [of, rowsFile(what === "evaluate" ? 96 : ROWS), what]),
  );
  const ratio = (what) => () => {
    const [training, evaluation] = [peak(what).peakRssBytes, peak("evaluate").peakRssBytes];
    return { value: training / evaluation, note: `${mebibytes(training)} ÷ ${mebibytes(evaluation)}` };
  };
  const against = (options) => () => {
    const other = theirs(model, options);
    if (other.skipped !== undefined) return other;
    const ours = peak("full").peakRssBytes;
    return { value: other.peakRssBytes / ours, note: `${mebibytes(other.peakRssBytes)} ÷ ${mebibytes(ours)}` };
  };
  return [
    { figure: "lora-memory", says: "peak memory, LoRA training ÷ evaluation", most: 1.05, measure: ratio("lora") },
    { figure: "full-memory", says: "peak memory, full training ÷ evaluation", most: 1.1, measure: ratio("full") },
    {
      figure: "memory-against-adam",
      says: "peak memory, PyTorch Adam full ÷ our full",
      least: 8,
      measure: against({ method: "full", optimizer: "adam" }),
    },
    {
      figure: "memory-against-mezo",
      says: "peak memory, PyTorch MeZO full ÷ our full",
      least: 3,
      measure: against(published("full")),
    },
    {
      figure: "gguf-memory",
      says: "peak memory, LoRA on the Q4_1 GGUF",
      most: 300,
      unit: "MiB",
      measure: () => ({ value: peak("lora", gguf).peakRssBytes / 2 ** 20 }),
    },
  ];
};
