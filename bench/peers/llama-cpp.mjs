// llama.cpp, through node-llama-cpp, in fp32 throughout.
import { getLlama } from "node-llama-cpp";

let started;

/** @returns {Promise<{ tokens: number[], rows: Map<number, number>[], encoded: number[] }>} as `greedy` of reference.mjs has them */
export const llamaCpp = async ({ file, lora, prompt, text, count }) => {
  started ??= getLlama({ gpu: false, build: "never", logLevel: "error" });
  const model = await (await started).loadModel({ modelPath: file, gpuLayers: 0 });
  const context = await model.createContext({
    ...{ contextSize: 128, sequences: 1, threads: 1, flashAttention: false, lora },
    ...{ experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32" },
  });
  const tokens = [];
  const rows = [];
  const options = [{ probabilities: true }, { temperature: 0, yieldEogToken: true }];
  for await (const { token, probabilities } of context.getSequence().evaluateWithMetadata(prompt, ...options)) {
    // What is rarer than that has lost its digits in the probability.
    rows.push(new Map([...probabilities].filter(([, p]) => p > 1e-6).map(([id, p]) => [id, Math.log(p)])));
    tokens.push(token);
    if (tokens.length === count) break;
  }
  const encoded = model.tokenize(text, false);
  await context.dispose();
  await model.dispose();
  return { tokens, rows, encoded };
};
