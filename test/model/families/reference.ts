/**
 * A Llama forward pass in float64, one token at a time and one number after another, from the published definitions: RMSNorm
 * (Zhang and Sennrich 2019, eq. 4), rotary positions (Su et al. 2021, eq. 15) on Hugging Face's pairs (i, i + size/2), grouped
 * queries (Ainslie et al. 2023), SwiGLU (Shazeer 2020, eq. 6), and the scaling of frequencies of Llama 3.1.
 */

export interface Rope {
  readonly rope_type?: string;
  /** The old name of `rope_type`. */
  readonly type?: string;
  readonly rope_theta?: number;
  readonly factor?: number;
  readonly low_freq_factor?: number;
  readonly high_freq_factor?: number;
  readonly original_max_position_embeddings?: number;
}

/** The fields of a `config.json` that the computation depends on, and the length of context. */
export interface LlamaConfig {
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads?: number | undefined;
  readonly head_dim?: number | undefined;
  readonly vocab_size: number;
  readonly max_position_embeddings: number;
  readonly rms_norm_eps: number;
  readonly rope_theta?: number | undefined;
  readonly rope_scaling?: Rope | undefined;
  readonly rope_parameters?: Rope | undefined;
  readonly tie_word_embeddings?: boolean | undefined;
  readonly attention_bias?: boolean | undefined;
  readonly mlp_bias?: boolean | undefined;
}

/** Row-major values by Hugging Face's names. */
export type Tensors = Readonly<Record<string, Float32Array>>;

type Row = readonly number[];

const headSizeOf = (config: LlamaConfig): number => config.head_dim ?? config.hidden_size / config.num_attention_heads;

/** Names and shapes of a checkpoint, in the order in which `LlamaForCausalLM` lists them. */
export const shapesOf = (config: LlamaConfig): Readonly<Record<string, readonly number[]>> => {
  const { hidden_size: hidden, intermediate_size: inner, vocab_size: vocabulary } = config;
  const queries = config.num_attention_heads * headSizeOf(config);
  const keys = (config.num_key_value_heads ?? config.num_attention_heads) * headSizeOf(config);
  const shapes: Record<string, readonly number[]> = { "model.embed_tokens.weight": [vocabulary, hidden] };
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const linear = (path: string, outputs: number, inputs: number, bias = false) => {
      shapes[`model.layers.${layer}.${path}.weight`] = [outputs, inputs];
      if (bias) shapes[`model.layers.${layer}.${path}.bias`] = [outputs];
    };
    linear("self_attn.q_proj", queries, hidden, config.attention_bias);
    linear("self_attn.k_proj", keys, hidden, config.attention_bias);
    linear("self_attn.v_proj", keys, hidden, config.attention_bias);
    linear("self_attn.o_proj", hidden, queries, config.attention_bias);
    linear("mlp.gate_proj", inner, hidden, config.mlp_bias);
    linear("mlp.up_proj", inner, hidden, config.mlp_bias);
    linear("mlp.down_proj", hidden, inner, config.mlp_bias);
    shapes[`model.layers.${layer}.input_layernorm.weight`] = [hidden];
    shapes[`model.layers.${layer}.post_attention_layernorm.weight`] = [hidden];
  }
  shapes["model.norm.weight"] = [hidden];
  if (config.tie_word_embeddings !== true) shapes["lm_head.weight"] = [vocabulary, hidden];
  return shapes;
};

const sum = (values: Row): number => values.reduce((total, value) => total + value, 0);

const add = (a: Row, b: Row): number[] => a.map((value, i) => value + b[i]!);

/** Radians that each pair of a head turns by from one position to the next. */
const frequenciesOf = (config: LlamaConfig): number[] => {
  const rope = config.rope_parameters ?? config.rope_scaling ?? {};
  const size = headSizeOf(config);
  const theta = rope.rope_theta ?? config.rope_theta ?? 10_000;
  const plain = Array.from({ length: size / 2 }, (_, i) => 1 / theta ** ((2 * i) / size));
  const kind = rope.rope_type ?? rope.type;
  if (kind === undefined || kind === "default") return plain;
  if (kind === "linear") return plain.map((frequency) => frequency / rope.factor!);
  if (kind !== "llama3") throw new Error(`the reference knows no scaling ${kind}`);
  return plain.map((frequency) => {
    // How often the pair turns within the original length: often is kept, seldom is slowed, between them a blend.
    const turns = (rope.original_max_position_embeddings! * frequency) / (2 * Math.PI);
    const [low, high] = [rope.low_freq_factor!, rope.high_freq_factor!];
    const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
    return kept * frequency + ((1 - kept) * frequency) / rope.factor!;
  });
};

/** cos and sin of each pair's angle at a position. */
export const anglesAt = (config: LlamaConfig, position: number): { cos: number[]; sin: number[] } => {
  const angles = frequenciesOf(config).map((frequency) => position * frequency);
  return { cos: angles.map(Math.cos), sin: angles.map(Math.sin) };
};

/** Logits of the next token after each of the ids, which stand at positions 0, 1, 2, …: [T][vocabulary]. */
export const referenceLogits = (config: LlamaConfig, tensors: Tensors, ids: readonly number[]): number[][] => {
  const tensor = (name: string): Float32Array => {
    const values = tensors[name];
    if (values === undefined) throw new Error(`the reference lacks ${name}`);
    return values;
  };
  const multiply = (weight: Float32Array, x: Row): number[] =>
    Array.from({ length: weight.length / x.length }, (_, row) =>
      sum(x.map((value, column) => value * weight[row * x.length + column]!)),
    );
  const linear = (path: string, x: Row, bias: boolean | undefined): number[] => {
    const product = multiply(tensor(`${path}.weight`), x);
    return bias ? add(product, Array.from(tensor(`${path}.bias`))) : product;
  };
  const norm = (path: string, x: Row): number[] => {
    const gain = tensor(`${path}.weight`);
    const root = Math.sqrt(sum(x.map((value) => value * value)) / x.length + config.rms_norm_eps);
    return x.map((value, i) => (value / root) * gain[i]!);
  };

  const size = headSizeOf(config);
  const heads = config.num_attention_heads;
  const sharing = heads / (config.num_key_value_heads ?? heads);
  const headOf = (row: Row, head: number): Row => row.slice(head * size, (head + 1) * size);
  const rotate = (head: Row, position: number): number[] => {
    const { cos, sin } = anglesAt(config, position);
    const half = size / 2;
    return head.map((value, i) =>
      i < half
        ? value * cos[i]! - head[i + half]! * sin[i]!
        : value * cos[i - half]! + head[i - half]! * sin[i - half]!,
    );
  };
  const attention = (path: string, rows: readonly Row[]): number[][] => {
    const project = (name: string) => rows.map((row) => linear(`${path}.${name}`, row, config.attention_bias));
    const [queries, keys, values] = [project("q_proj"), project("k_proj"), project("v_proj")];
    const mixed = rows.map((): number[] => []);
    for (let head = 0; head < heads; head++) {
      const shared = Math.floor(head / sharing);
      const turned = keys.map((key, position) => rotate(headOf(key, shared), position));
      queries.forEach((row, position) => {
        const query = rotate(headOf(row, head), position);
        const seen = turned.slice(0, position + 1);
        const scores = seen.map((key) => sum(query.map((value, i) => value * key[i]!)) / Math.sqrt(size));
        const largest = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - largest));
        const total = sum(weights);
        for (let i = 0; i < size; i++) {
          mixed[position]?.push(sum(weights.map((weight, at) => (weight / total) * values[at]![shared * size + i]!)));
        }
      });
    }
    return mixed.map((row) => linear(`${path}.o_proj`, row, config.attention_bias));
  };
  const mlp = (path: string, x: Row): number[] => {
    const up = linear(`${path}.up_proj`, x, config.mlp_bias);
    const gate = linear(`${path}.gate_proj`, x, config.mlp_bias);
    const inner = gate.map((value, i) => (value / (1 + Math.exp(-value))) * up[i]!);
    return linear(`${path}.down_proj`, inner, config.mlp_bias);
  };

  const embedding = tensor("model.embed_tokens.weight");
  let rows: Row[] = ids.map((id) =>
    Array.from(embedding.slice(id * config.hidden_size, (id + 1) * config.hidden_size)),
  );
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const at = `model.layers.${layer}`;
    const attended = attention(
      `${at}.self_attn`,
      rows.map((row) => norm(`${at}.input_layernorm`, row)),
    );
    rows = rows.map((row, t) => add(row, attended[t]!));
    rows = rows.map((row) => add(row, mlp(`${at}.mlp`, norm(`${at}.post_attention_layernorm`, row))));
  }
  const head = config.tie_word_embeddings ? embedding : tensor("lm_head.weight");
  return rows.map((row) => multiply(head, norm("model.norm", row)));
};
