import type { Value } from "../../graph/ir.js";
import type { BoundFamily, HeadPlan, Heads, Parameter, Parts, Pieces, Reading } from "../family.js";
import { type ActivationName, activations } from "./activations.js";
import { attention, sights } from "./attention.js";
import { embedTokens } from "./embedding.js";
import { layerNorm } from "./norms.js";

/** What differs between encoders of BERT's kind: learned positions, layer norms after each sublayer, every token seen. */
export interface EncoderPlan extends Heads {
  /** Prefix of the encoder's tensors: `bert`. */
  readonly root: string;
  readonly hidden: number;
  readonly inner: number;
  readonly layers: number;
  readonly vocabulary: number;
  readonly types: number;
  readonly positions: number;
  /** Rows at the head of the table of positions that no token uses. */
  readonly offset: number;
  readonly epsilon: number;
  readonly activation: ActivationName;
  readonly head: EncoderHead;
}

/** What stands between the last block and the logits, by the names in the file. */
export interface EncoderHead extends HeadPlan {
  readonly reads: Exclude<Reading, "next">;
  /** Rows of the head's matrix: the vocabulary, or the classes. */
  readonly outputs: number;
  /** The matrix is one of its own, not the embedding's. */
  readonly own: boolean;
  readonly dense: string;
  readonly activation: ActivationName;
  readonly norm?: string;
}

const embeddingsOf = ({ root }: EncoderPlan) => ({
  tokens: `${root}.embeddings.word_embeddings.weight`,
  positions: `${root}.embeddings.position_embeddings.weight`,
  types: `${root}.embeddings.token_type_embeddings.weight`,
  norm: `${root}.embeddings.LayerNorm`,
});

const pair = (name: string, shape: readonly number[], layer?: number, linear = false): readonly Parameter[] => {
  const at = layer === undefined ? {} : { layer };
  return [
    { name: `${name}.weight`, shape, ...at, ...(linear ? { linear } : {}) },
    { name: `${name}.bias`, shape: shape.slice(0, 1), ...at },
  ];
};

const parametersOf = (plan: EncoderPlan): readonly Parameter[] => {
  const { root, hidden, inner, head } = plan;
  const embeddings = embeddingsOf(plan);
  const block = (layer: number): readonly Parameter[] => {
    const at = `${root}.encoder.layer.${layer}`;
    const linear = (name: string, outputs: number, inputs: number) =>
      pair(`${at}.${name}`, [outputs, inputs], layer, true);
    return [
      ...["query", "key", "value"].flatMap((name) => linear(`attention.self.${name}`, hidden, hidden)),
      ...linear("attention.output.dense", hidden, hidden),
      ...pair(`${at}.attention.output.LayerNorm`, [hidden], layer),
      ...linear("intermediate.dense", inner, hidden),
      ...linear("output.dense", hidden, inner),
      ...pair(`${at}.output.LayerNorm`, [hidden], layer),
    ];
  };
  return [
    { name: embeddings.tokens, shape: [plan.vocabulary, hidden] },
    { name: embeddings.positions, shape: [plan.positions, hidden] },
    { name: embeddings.types, shape: [plan.types, hidden] },
    ...pair(embeddings.norm, [hidden]),
    ...Array.from({ length: plan.layers }, (_, layer) => block(layer)).flat(),
    ...pair(head.dense, [hidden, hidden]),
    ...(head.norm === undefined ? [] : pair(head.norm, [hidden])),
    ...(head.own ? [{ name: head.weight, shape: [head.outputs, hidden] }] : []),
    ...(head.bias === undefined ? [] : [{ name: head.bias, shape: [head.outputs] }]),
  ];
};

const piecesOf = (plan: EncoderPlan, parts: Parts): Pieces => {
  const { g, rows, linear: apply } = parts;
  const { root, activation, head } = plan;
  const embeddings = embeddingsOf(plan);
  const sight = sights(parts);
  const norm = (x: Value, name: string) => layerNorm(parts, x, name, plan);
  const scale = g.constant(Float32Array.of(1 / Math.sqrt(plan.headSize)), [1]);
  const attend = (x: Value, at: string, layer: number): Value => {
    const [q, k, v] = ["query", "key", "value"].map((name) => apply(`${at}.self.${name}`, x));
    if (q === undefined || k === undefined || v === undefined) throw new Error("attention takes three");
    const qkv = { q: g.op("Mul", [q, scale]), k, v };
    return apply(`${at}.output.dense`, attention(parts, sight("mask"), plan, qkv, { name: at, layer }));
  };
  return {
    embed() {
      const tokens = embedTokens(parts, { weight: embeddings.tokens });
      const placed = g.op("Add", [tokens, rows(embeddings.positions, g.input("positions", "int32", ["T"]))]);
      const typed = rows(embeddings.types, g.input("types", "int32", ["T"]));
      return norm(g.op("Add", [placed, typed], {}, "embedded"), embeddings.norm);
    },
    block(x, layer) {
      const at = `${root}.encoder.layer.${layer}`;
      const attended = norm(g.op("Add", [x, attend(x, `${at}.attention`, layer)]), `${at}.attention.output.LayerNorm`);
      const inner = activations[activation](g, apply(`${at}.intermediate.dense`, attended));
      return norm(g.op("Add", [attended, apply(`${at}.output.dense`, inner)]), `${at}.output.LayerNorm`);
    },
    last(x) {
      const taken = g.op("Gather", [x, g.input("take", "int32", ["P"])], {}, "taken");
      const dense = activations[head.activation](g, apply(head.dense, taken));
      return head.norm === undefined ? dense : norm(dense, head.norm);
    },
  };
};

/** An encoder of BERT's kind, from what is particular to it. */
export const encoder = (plan: EncoderPlan): BoundFamily => {
  const { weight, bias, reads, outputs } = plan.head;
  const isClassifier = reads === "class";
  return {
    parameters: parametersOf(plan),
    head: { weight, ...(bias === undefined ? {} : { bias }), few: isClassifier },
    reads,
    vocabulary: plan.vocabulary,
    ...(isClassifier ? { classes: outputs, classifier: weight.replace(/\..*/, "") } : {}),
    contextLength: plan.positions - plan.offset,
    layers: plan.layers,
    width: plan.hidden,
    masks: { mask: { causal: false } },
    heads: { heads: plan.heads, keyHeads: plan.keyHeads, headSize: plan.headSize },
    embedding: { weight: embeddingsOf(plan).tokens },
    ends: ["output.dense"],
    targets: ["query", "value"],
    pieces: (parts) => piecesOf(plan, parts),
    places: ({ positions, types }) => ({
      positions: { data: positions.map((position) => position + plan.offset) },
      // A table of one row has one type for all.
      types: { data: plan.types > 1 ? types : types.map(() => 0) },
    }),
  };
};
