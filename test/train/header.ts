import type { JournalHeader, StepRecord } from "../../src/train/journal.js";

export const header: JournalHeader = {
  zeroth: "0.1.0",
  model: { origin: "models/tiny", fingerprint: "00ff" },
  data: "d4",
  trainRows: 64,
  options: { seed: 3, learningRate: 1e-3, schedule: "constant", steps: 10, threads: 2 },
  rounds: 7,
  mode: "copies",
  parameters: "aa",
  runtime: { name: "onnxruntime-node", version: "1.30.0", threads: 2 },
  kernels: 1,
};

/** Step `step` of a made-up run. */
export const record = (step: number): StepRecord => ({
  step,
  refused: false,
  losses: Float32Array.of(1 / (step + 1), 1 / (step + 2)),
  numbers: Float32Array.of(step * 0.37, 1e-3, 1),
});
