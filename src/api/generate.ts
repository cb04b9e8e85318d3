import { performance } from "node:perf_hooks";
import { promptTokens } from "../data/tokenize.js";
import { ZerothError } from "../errors.js";
import { decode } from "../generate/decode.js";
import { sampling } from "../generate/sample.js";
import { textStream } from "../generate/text.js";
import { endTokens } from "../model/ends.js";
import { openAdapted } from "./engines.js";
import type { Model } from "./load.js";
import type { GenerateEvent, GenerateOptions, GenerateResult } from "./types.js";

const usage = (message: string) => new ZerothError(message, { kind: "usage" });

/** @throws ZerothError (usage) for an option out of range */
const checked = (options: GenerateOptions) => {
  const { temperature, topP, topK, seed = 0, maxTokens = 256, stop = [] } = options;
  // To say how tokens are drawn is to ask that they are.
  const isDrawn = temperature !== undefined || topP !== undefined || topK !== undefined;
  const values = { temperature: temperature ?? (isDrawn ? 1 : 0), topP: topP ?? 1, topK: topK ?? 0, seed, maxTokens };
  const wholes = ["topK", "seed", "maxTokens"] as const;
  const odd = wholes.find((name) => !Number.isSafeInteger(values[name]) || values[name] < 0);
  if (odd !== undefined) throw usage(`${odd} is a whole number of at least 0, not ${values[odd]}.`);
  if (!(values.temperature >= 0)) throw usage(`temperature is at least 0, not ${values.temperature}.`);
  if (!(values.topP > 0 && values.topP <= 1)) throw usage(`topP is above 0 and at most 1, not ${values.topP}.`);
  if (stop.includes("")) throw usage("A stop sequence is a text of at least one character.");
  return { ...values, seed: BigInt(seed), stop };
};

/**
 * Goes on with a text or a conversation. Greedy where nothing says how tokens are drawn; a seed always draws the same ones.
 *
 * @returns pieces of text as they become certain, and at last the whole with why it ended
 * @throws ZerothError when model, adapter or options cannot be used, or the prompt is longer than the model's context
 */
export async function* generate(model: Model, options: GenerateOptions): AsyncGenerator<GenerateEvent> {
  const { maxTokens, stop, ...how } = checked(options);
  const choose = sampling(how);
  const { contextLength, reads } = model.family;
  if (reads !== "next") throw usage("This model does not continue text, so it cannot generate any.");
  const ids = promptTokens(model.files.tokenizer, options);
  if (ids.length === 0)
    throw usage("The prompt is empty, and the model's tokenizer adds no token before a text. Give it some text.");
  if (ids.length > contextLength)
    throw usage(`The prompt has ${ids.length} tokens, and the model's context ${contextLength}. Shorten it.`);
  const adapted = await openAdapted(model, options);
  try {
    const { family, files } = adapted.model;
    const stream = textStream(files.tokenizer, ids, stop);
    const tokens = decode(adapted.engine, family, ids, { choose, ends: endTokens(files), most: maxTokens });
    let [count, text] = [0, ""];
    let reason: GenerateResult["reason"] | undefined;
    const start = performance.now();
    let first = start;
    while (reason === undefined) {
      const next = await tokens.next();
      if (count === 0) first = performance.now();
      if (next.done === true) {
        reason = next.value;
        break;
      }
      count++;
      const { text: piece, stopped } = stream.push(next.value);
      text += piece;
      if (piece !== "") yield { type: "text", text: piece };
      if (stopped) reason = "stop";
      else if (options.signal?.aborted === true) reason = "interrupted";
    }
    const rest = reason === "stop" ? "" : stream.end();
    if (rest !== "") yield { type: "text", text: rest };
    const end = performance.now();
    const seconds = { promptSeconds: (first - start) / 1000, seconds: (end - first) / 1000 };
    yield { type: "done", result: { text: text + rest, reason, tokens: count, promptTokens: ids.length, ...seconds } };
  } finally {
    await adapted.engine.close();
  }
}
