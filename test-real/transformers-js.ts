import { basename, dirname } from "node:path";
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  env,
  LogitsProcessor,
  LogitsProcessorList,
  type PreTrainedModel,
  type PreTrainedTokenizer,
  Tensor,
} from "@huggingface/transformers";
import type { Written } from "../test/logits.js";

export interface Opened {
  readonly model: PreTrainedModel;
  readonly tokenizer: PreTrainedTokenizer;
}

/** A folder as transformers.js opens it. @param atTheEnd vitest's `onTestFinished` or `afterAll` */
export const openTransformersJs = async (
  folder: string,
  dtype: "fp32" | "fp16",
  atTheEnd: (close: () => Promise<void>) => void,
): Promise<Opened> => {
  env.allowRemoteModels = false;
  env.localModelPath = dirname(folder);
  const tokenizer = await AutoTokenizer.from_pretrained(basename(folder));
  const model = await AutoModelForCausalLM.from_pretrained(basename(folder), { dtype, device: "cpu" });
  atTheEnd(async () => {
    await model.dispose();
  });
  return { model, tokenizer };
};

const int64 = (rows: readonly (readonly number[])[]): Tensor =>
  new Tensor("int64", BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0]?.length ?? 0]);

/** The logits of every step of `generate`, which itself gives tokens alone. */
class Recorder extends LogitsProcessor {
  readonly steps: Float32Array[] = [];
  override _call(_: bigint[][], logits: Tensor): Tensor {
    this.steps.push(Float32Array.from(logits.data as Float32Array));
    return logits;
  }
}

/** What transformers.js goes on with after each prompt, all of them in one batch: shorter ones are padded on the left. */
export const writtenByTransformersJs = async (
  model: PreTrainedModel,
  prompts: readonly (readonly number[])[],
  count: number,
): Promise<readonly Written[]> => {
  const width = Math.max(...prompts.map(({ length }) => length));
  const padded = (row: readonly number[]) => [...Array<number>(width - row.length).fill(0), ...row];
  const recorder = new Recorder();
  const processors = new LogitsProcessorList();
  processors.push(recorder);
  const sequences = await model.generate({
    ...{ input_ids: int64(prompts.map(padded)), attention_mask: int64(prompts.map((ids) => padded(ids.map(() => 1)))) },
    // No token ends a text here.
    ...{ max_new_tokens: count, do_sample: false, eos_token_id: -1 },
    logits_processor: processors,
  });
  if (!(sequences instanceof Tensor)) throw new Error("tokens alone");
  const tokens = Array.from(sequences.data as BigInt64Array, Number);
  return prompts.map((_, i) => ({
    tokens: tokens.slice(i * (width + count) + width, (i + 1) * (width + count)),
    logits: recorder.steps.map((step) => {
      const vocabulary = step.length / prompts.length;
      return step.subarray(i * vocabulary, (i + 1) * vocabulary);
    }),
  }));
};
