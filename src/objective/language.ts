import { cellOf, meanOf, type Objective, type Share } from "./objective.js";

/** −log p of a pack's scored tokens, and how many they are. */
export const tokenLosses: Share = (pack, output) => {
  if (pack.columns !== null) throw new RangeError("the language-model loss needs log-probabilities, not option logits");
  const total = pack.owners.reduce((sum, _, k) => sum - cellOf(pack, output, k), 0);
  return { total, weight: pack.owners.length };
};

/** Language modelling: −log p of the scored tokens, mean over the batch's scored tokens, as in MeZO (nats a token). */
export const languageModel: Objective = { name: "language-model", head: "tokens", loss: meanOf(tokenLosses) };
