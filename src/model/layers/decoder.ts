import type { Value } from "../../graph/ir.js";
import type { BoundFamily, HeadPlan, Parameter, Parts, Pieces, Sight } from "../family.js";
import { type ActivationName, activations } from "./activations.js";
import { attention, type Heads, sights } from "./attention.js";
import { rmsNorm } from "./norms.js";
import { type Rotary, turnPlaces } from "./rotary.js";

/** What differs between decoders of Llama's kind: RMS norms, rotary positions, grouped-query attention, a gated MLP. */
export interface DecoderPlan extends Heads {
  readonly hidden: number;
  readonly inner: number;
  readonly vocabulary: number;
  readonly contextLength: number;
  readonly tied: boolean;
  readonly activation: ActivationName;
  readonly norm: { readonly epsilon: number; readonly offset?: number };
  /** Queries are multiplied by it. */
  readonly queryScale: number;
  /** Embeddings are multiplied by it. */
  readonly embeddingScale?: number;
  /** Each block's rotary table and mask, by their names. */
  readonly blocks: readonly { readonly rotary: string; readonly mask: string }[];
  readonly rotary: Readonly<Record<string, Rotary>>;
  readonly masks: Readonly<Record<string, Sight>>;
  /** Queries, keys and values come from one matrix, and so do gate and up (Phi-3). */
  readonly fused?: boolean;
  /** Norms over each head's queries and keys (Qwen 3, Gemma 3). */
  readonly headNorms?: boolean;
  /** Norms of what attention and the MLP add to the stream (Gemma 2 and 3). */
  readonly outputNorms?: boolean;
  readonly caps?: { readonly scores?: number | undefined; readonly logits?: number | undefined };
  /** Whether a linear layer has a bias, by its name. */
  hasBias(name: string): boolean;
}

const EMBEDDING = "model.embed_tokens.weight";
const HEAD = "lm_head.weight";
const LAST_NORM = "model.norm";
export const decoderHead = HEAD;

/** Names of a block's norms, in the order that they are met. */
const normsOf = ({ outputNorms = false }: DecoderPlan) =>
  outputNorms
    ? {
        attention: "input_layernorm",
        attended: "post_attention_layernorm",
        mlp: "pre_feedforward_layernorm",
        fed: "post_feedforward_layernorm",
      }
    : { attention: "input_layernorm", mlp: "post_attention_layernorm" };

/** A block's tensors, as data. */
const blockParameters = (plan: DecoderPlan, layer: number): readonly Parameter[] => {
  const { hidden, inner, heads, keyHeads, headSize, fused = false, headNorms = false } = plan;
  const at = `model.layers.${layer}`;
  const vector = (name: string, size: number): Parameter => ({ name: `${at}.${name}`, shape: [size], layer });
  const linear = (name: string, outputs: number, inputs: number): readonly Parameter[] => [
    { name: `${at}.${name}.weight`, shape: [outputs, inputs], linear: true, layer },
    ...(plan.hasBias(`${at}.${name}.bias`) ? [vector(`${name}.bias`, outputs)] : []),
  ];
  const [queries, keys] = [heads * headSize, keyHeads * headSize];
  const norms = normsOf(plan);
  return [
    vector(`${norms.attention}.weight`, hidden),
    ...(fused
      ? linear("self_attn.qkv_proj", queries + 2 * keys, hidden)
      : [
          ...linear("self_attn.q_proj", queries, hidden),
          ...linear("self_attn.k_proj", keys, hidden),
          ...linear("self_attn.v_proj", keys, hidden),
        ]),
    ...(headNorms ? [vector("self_attn.q_norm.weight", headSize), vector("self_attn.k_norm.weight", headSize)] : []),
    ...linear("self_attn.o_proj", hidden, queries),
    ...(norms.attended === undefined ? [] : [vector(`${norms.attended}.weight`, hidden)]),
    vector(`${norms.mlp}.weight`, hidden),
    ...(fused
      ? linear("mlp.gate_up_proj", 2 * inner, hidden)
      : [...linear("mlp.gate_proj", inner, hidden), ...linear("mlp.up_proj", inner, hidden)]),
    ...linear("mlp.down_proj", hidden, inner),
    ...(norms.fed === undefined ? [] : [vector(`${norms.fed}.weight`, hidden)]),
  ];
};

const piecesOf = (plan: DecoderPlan, parts: Parts): Pieces => {
  const { g, rows, linear: apply } = parts;
  const { heads, keyHeads, headSize, inner, fused = false, headNorms = false, embeddingScale = 1 } = plan;
  const sight = sights(parts);
  const turnings = new Map<string, { cos: Value; sin: Value }>();
  const turning = (name: string) => {
    const width = (plan.rotary[name]?.elements ?? 0) / 2;
    const input = (kind: string) => g.input(`${name}${kind}`, "float32", ["T", width]);
    const known = turnings.get(name) ?? { cos: input("cos"), sin: input("sin") };
    turnings.set(name, known);
    return known;
  };
  const start = g.constant([0]);
  const number = (value: number) => g.constant(Float32Array.of(value), [1]);
  const norm = (x: Value, name: string): Value => rmsNorm(parts, x, name, plan.norm);
  const split = (x: Value, sizes: readonly number[], name: string): readonly Value[] => {
    let from = 0;
    return sizes.map((size, i) => {
      const [first, last] = [from, from + size];
      from = last;
      return g.op("Slice", [x, g.constant([first]), g.constant([last]), g.constant([1])], {}, `${name}.part_${i}`);
    });
  };

  /** Each head's own norm, where there are any, and its turn. */
  const placed = (x: Value, count: number, rotary: string, at: string): Value => {
    const normed = headNorms
      ? g.reshape(norm(g.reshape(x, [-1, count, headSize]), `${at}_norm`), [-1, count * headSize])
      : x;
    const row = g.reshape(normed, [1, -1, count * headSize]);
    const { cos, sin } = turning(rotary);
    const size = plan.rotary[rotary]?.elements ?? headSize;
    const partial = size === headSize ? {} : { rotary_embedding_dim: size };
    const turned = g.op("RotaryEmbedding", [row, start, cos, sin], { num_heads: count, ...partial }, `${at}_rotary`);
    return g.reshape(turned, [-1, count * headSize]);
  };
  const attend = (x: Value, layer: number): Value => {
    const at = `model.layers.${layer}.self_attn`;
    const { rotary = "", mask = "" } = plan.blocks[layer] ?? {};
    const [queries, keys] = [heads * headSize, keyHeads * headSize];
    const [q, k, v] = fused
      ? split(apply(`${at}.qkv_proj`, x), [queries, keys, keys], `${at}.qkv_proj`)
      : ["q", "k", "v"].map((name) => apply(`${at}.${name}_proj`, x));
    if (q === undefined || k === undefined || v === undefined) throw new Error("attention takes three");
    const query = g.op("Mul", [placed(q, heads, rotary, `${at}.q`), number(plan.queryScale)]);
    const qkv = { q: query, k: placed(k, keyHeads, rotary, `${at}.k`), v };
    return apply(`${at}.o_proj`, attention(g, sight(mask), plan, qkv, at, { cap: plan.caps?.scores }));
  };
  const mlp = (x: Value, layer: number): Value => {
    const at = `model.layers.${layer}.mlp`;
    const [gate, up] = fused
      ? split(apply(`${at}.gate_up_proj`, x), [inner, inner], `${at}.gate_up_proj`)
      : [apply(`${at}.gate_proj`, x), apply(`${at}.up_proj`, x)];
    if (gate === undefined || up === undefined) throw new Error("a gated MLP takes two");
    return apply(`${at}.down_proj`, g.op("Mul", [activations[plan.activation](g, gate), up]));
  };
  const norms = normsOf(plan);
  return {
    embed() {
      const embedded = rows(EMBEDDING, g.input("ids", "int32", ["T"]));
      return embeddingScale === 1 ? embedded : g.op("Mul", [embedded, number(embeddingScale)]);
    },
    block(x, layer) {
      const at = `model.layers.${layer}`;
      const after = (y: Value, name: string | undefined) => (name === undefined ? y : norm(y, `${at}.${name}`));
      const attended = after(attend(norm(x, `${at}.${norms.attention}`), layer), norms.attended);
      const between = g.op("Add", [x, attended]);
      return g.op("Add", [between, after(mlp(norm(between, `${at}.${norms.mlp}`), layer), norms.fed)]);
    },
    last: (x) => norm(g.op("Gather", [x, g.input("take", "int32", ["P"])], {}, "taken"), LAST_NORM),
  };
};

/** A decoder of Llama's kind, from what is particular to it. */
export const decoder = (plan: DecoderPlan): BoundFamily => {
  const { hidden, vocabulary, tied, caps, fused = false } = plan;
  const head: HeadPlan = {
    weight: tied ? EMBEDDING : HEAD,
    ...(caps?.logits === undefined ? {} : { cap: caps.logits }),
  };
  return {
    parameters: [
      { name: EMBEDDING, shape: [vocabulary, hidden] },
      ...plan.blocks.flatMap((_, layer) => blockParameters(plan, layer)),
      { name: `${LAST_NORM}.weight`, shape: [hidden] },
      ...(tied ? [] : [{ name: HEAD, shape: [vocabulary, hidden] }]),
    ],
    head,
    reads: "next",
    contextLength: plan.contextLength,
    layers: plan.blocks.length,
    width: hidden,
    masks: plan.masks,
    targets: fused ? ["qkv_proj"] : ["q_proj", "v_proj"],
    pieces: (parts) => piecesOf(plan, parts),
    places: (standing) => turnPlaces(plan.rotary, standing),
  };
};
