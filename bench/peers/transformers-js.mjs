// transformers.js on a folder that Zeroth wrote.
import { basename, dirname } from "node:path";
import { AutoModelForCausalLM, AutoTokenizer, env, Tensor } from "@huggingface/transformers";
import { logProbabilities } from "./reference.mjs";

const int64 = (rows) => new Tensor("int64", BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0].length]);

/** Rows of one length from prompts of several, padded on the left. */
const padded = (prompts) => {
  const width = Math.max(...prompts.map(({ length }) => length));
  const before = (ids, fill) => [...new Array(width - ids.length).fill(fill), ...ids];
  return {
    input_ids: int64(prompts.map((ids) => before(ids, 0))),
    attention_mask: int64(
      prompts.map((ids) =>
        before(
          ids.map(() => 1),
          0,
        ),
      ),
    ),
  };
};

/** The likeliest tokens after several prompts at once, each prompt's first log-probabilities, and how it cuts a text. */
export const transformersJs = async ({ folder, dtype, prompts, text, count }) => {
  env.allowRemoteModels = false;
  env.localModelPath = `${dirname(folder)}/`;
  const tokenizer = await AutoTokenizer.from_pretrained(basename(folder));
  const model = await AutoModelForCausalLM.from_pretrained(basename(folder), { dtype, device: "cpu" });
  const inputs = padded(prompts);
  const [, width] = inputs.input_ids.dims;
  const out = await model.generate({ ...inputs, max_new_tokens: count, do_sample: false, eos_token_id: -1 });
  const all = Array.from(out.data, Number);
  const tokens = prompts.map((_, i) => all.slice(i * (width + count) + width, (i + 1) * (width + count)));
  const { logits } = await model(inputs);
  const [, , vocabulary] = logits.dims;
  const rows = prompts.map((_, i) => {
    const end = (i + 1) * width * vocabulary;
    return logProbabilities(logits.data.slice(end - vocabulary, end));
  });
  const encoded = Array.from(tokenizer(text, { add_special_tokens: false }).input_ids.data, Number);
  await model.dispose();
  return { tokens, rows, encoded };
};
