// Goes on with a journal for ever, and tells how many steps it has synced.
import { existsSync, writeSync } from "node:fs";
import { createJournal, reopenJournal } from "../../dist/train/journal.js";

const path = process.argv[2];
const header = {
  zeroth: "0.1.0",
  model: { origin: "models/tiny", fingerprint: "00ff" },
  data: "d4",
  trainRows: 64,
  options: {},
  rounds: 7,
  mode: "copies",
  parameters: "aa",
  runtime: { name: "onnxruntime-node", version: "1.30.0", threads: 2 },
  kernels: 1,
};
const { journal, writer } = existsSync(path)
  ? reopenJournal(path)
  : { journal: { stepCount: 0 }, writer: await createJournal(path, header) };
writeSync(1, "0\n");
for (let step = journal.stepCount; ; step += 1) {
  writer.append({
    step,
    refused: false,
    losses: Float32Array.of(1 / (step + 1), 1 / (step + 2)),
    numbers: Float32Array.of(step * 0.37, 1e-3, 1),
  });
  if (step % 50 === 0) {
    writer.sync();
    writeSync(1, `${step + 1}\n`);
  }
  if (step % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
}
