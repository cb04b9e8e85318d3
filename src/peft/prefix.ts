import { z } from "zod";
import type { BoundFamily } from "../model/family.js";
import { builtHere } from "./built-here.js";
import { defineMethod } from "./define.js";
import type { Method } from "./method.js";
import { choice, LARGEST, whole } from "./options.js";
import { EMBEDDINGS, promptConfig, randomTokens } from "./virtual.js";

const widthOf = ({ heads: { keyHeads, headSize } }: BoundFamily): number => keyHeads * headSize;

/** Positions of a row's own tokens go on after the prefix. */
const after = (family: BoundFamily, tokens: number): BoundFamily => ({
  ...family,
  contextLength: family.contextLength - tokens,
  places: (standing) =>
    family.places({
      ...standing,
      positions: standing.positions.map((position) => position + tokens),
      rowLengths: standing.rowLengths.map((length) => length + tokens),
    }),
});

/**
 * Keys and values of virtual tokens, which every token of a row sees in every block (arXiv 2101.00190, without its reparameterisation). As PEFT
 * keeps them: a row a virtual token, a block's keys, as they are once positions are turned in, and then its values. Windows do not hide them.
 *
 * @param shifted a row's own positions go on after the prefix, as PEFT has them; else they start at 0, as in MeZO's program
 */
const prefixMethod = (family: BoundFamily, tokens: number, shifted: boolean, start?: readonly number[]): Method => {
  const width = widthOf(family);
  return {
    kind: "prefix",
    placement: "copies",
    firstLayer: 0,
    merge: "a prefix is keys and values of its own, and no weight of the model holds them",
    tensors: [
      { name: EMBEDDINGS, shape: [tokens, family.layers * 2 * width], initial: { kind: "normal", deviation: 1 } },
    ],
    ...(start === undefined ? {} : { start: { name: EMBEDDINGS, ids: start } }),
    ...(shifted ? { family: (bound) => after(bound, tokens) } : {}),
    attend(g, layer, tensor) {
      const part = (i: number) => {
        const [from, to] = [(2 * layer + i) * width, (2 * layer + i + 1) * width];
        return g.op("Slice", [tensor(EMBEDDINGS), g.constant([from]), g.constant([to]), g.constant([2])]);
      };
      return { k: part(0), v: part(1) };
    },
  };
};

/** Where positions start is no field of PEFT's, which always shifts them. */
const POSITIONS = "zeroth_positions";

export const prefix = defineMethod({
  name: "prefix",
  summary: "keys and values of virtual tokens in every block",
  options: {
    /** Virtual tokens. Default 5. */
    tokens: whole("--tokens <n>", "virtual tokens", 5),
    /** Keys and values of random tokens of the vocabulary, run through the model (MeZO's), or Gaussian noise. */
    init: choice("--init <how>", "how the prefix starts", ["activations", "noise"]),
    /** Whether a row's positions go on after the prefix (PEFT's) or start at 0 (MeZO's program). */
    positions: choice("--positions <how>", "where a row's positions start", ["after", "zero"]),
  },
  // MeZO's grid (arXiv 2305.17333): 1e-2 and 1e-3, ε 1e-1.
  tuning: { of: "adapter", learningRate: 10, epsilon: 10 },
  bind(base, { tokens, init, positions }, seed) {
    const family = builtHere(base);
    const start = init === "activations" ? randomTokens(family, tokens, seed) : undefined;
    return prefixMethod(family, tokens, positions === "after", start);
  },
  folder: {
    type: "PREFIX_TUNING",
    schema: z.looseObject({
      num_virtual_tokens: z.int().min(1).max(LARGEST),
      prefix_projection: z.literal(false).nullish(),
      [POSITIONS]: z.literal("zero").optional(),
    }),
    config: (base, { tokens, positions }) => ({
      ...promptConfig(base, tokens, widthOf(builtHere(base))),
      encoder_hidden_size: widthOf(builtHere(base)),
      prefix_projection: false,
      ...(positions === "zero" ? { [POSITIONS]: positions } : {}),
    }),
    read: (base, { config }) => prefixMethod(builtHere(base), config.num_virtual_tokens, config[POSITIONS] !== "zero"),
  },
});
