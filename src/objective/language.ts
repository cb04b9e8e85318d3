import { cellOf, type Objective } from "./objective.js";

/** Language modelling: −log p of the scored tokens, mean over the batch's scored tokens, as in MeZO (nats a token). */
export const languageModel: Objective = {
  name: "language-model",
  head: "tokens",
  share(pack, output) {
    if (pack.columns !== null)
      throw new RangeError("the language-model loss needs log-probabilities, not option logits");
    const total = pack.owners.reduce((sum, _, k) => sum - cellOf(pack, output, k), 0);
    return { total, weight: pack.owners.length };
  },
};
