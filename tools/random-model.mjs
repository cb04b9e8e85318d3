// Writes a Llama-shaped model with random weights, of a published model's size: what to time where the model itself cannot be had.
// Run without arguments for its usage. Needs a build (npm run build). The bytes are a function of the arguments alone.
import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { constants } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { PARTIAL, writeError, writeFileAtomic } from "../dist/atomic.js";
import { encodings, writers } from "../dist/model/encodings.js";
import { ggufTokenizer } from "../dist/model/gguf/tokenizer.js";
import { writeSafetensors } from "../dist/model/safetensors.js";
import { elementsOf } from "../dist/model/weights.js";
import { tensorId, tensorKey } from "../dist/random/key.js";
import { fillNoise, uniformAt } from "../dist/random/noise.js";

/* ---- Shapes ---- */

/** The rotary scaling of Llama 3.2 is left out: it costs nothing, and matters to weights that were trained with it only. */
const models = Object.entries({
  //       hidden, layers, heads, key heads, head size, inner, vocabulary, tied, context, rotary base, the shape of
  tiny: [64, 2, 4, 2, 32, 96, 320, false, 512, 10_000, "nothing published: for tests"],
  "135m": [576, 30, 9, 3, 64, 1536, 49_152, true, 8192, 100_000, "SmolLM2-135M"],
  "360m": [960, 32, 15, 5, 64, 2560, 49_152, true, 8192, 100_000, "SmolLM2-360M"],
  "1.1b": [2048, 22, 32, 4, 64, 5632, 32_000, false, 2048, 10_000, "TinyLlama-1.1B"],
  "3b": [3072, 28, 24, 8, 128, 8192, 128_256, true, 131_072, 500_000, "Llama-3.2-3B"],
  "7b": [4096, 32, 32, 32, 128, 11_008, 32_000, false, 4096, 10_000, "Llama-2-7B"],
}).map(([size, row]) => {
  const [hidden, layers, heads, keyHeads, headSize, inner, vocabulary, tied, context, theta, like] = row;
  return { size, hidden, layers, heads, keyHeads, headSize, inner, vocabulary, tied, context, theta, like };
});
const EPSILON = 1e-5;

/**
 * Every tensor: its names in the two layouts, its shape [outputs, inputs], and the standard deviation of its values (a norm
 * has none: it is ones). 1/√inputs keeps activations at 1. What is added to the residual stream is divided by √(2·layers),
 * as in GPT-2, so that the stream's variance stays below 1. The embedding's 1/(2√hidden), 0.02 at 576, gives logits a
 * deviation of 1/2, a loss of about ln V + 1/8; and it is small beside what the blocks add, so that a tied head does not
 * just repeat the token.
 */
const tensorsOf = ({ hidden, layers, heads, keyHeads, headSize, inner, vocabulary, tied }) => {
  const added = 1 / Math.sqrt(2 * layers);
  const tensor = (name, gguf, shape, std) => ({ name: `${name}.weight`, gguf: `${gguf}.weight`, shape, std });
  const linear = (name, gguf, outputs, inputs, scale = 1) =>
    tensor(name, gguf, [outputs, inputs], scale / Math.sqrt(inputs));
  const block = (layer) => {
    const [at, blk] = [`model.layers.${layer}`, `blk.${layer}`];
    return [
      tensor(`${at}.input_layernorm`, `${blk}.attn_norm`, [hidden]),
      linear(`${at}.self_attn.q_proj`, `${blk}.attn_q`, heads * headSize, hidden),
      linear(`${at}.self_attn.k_proj`, `${blk}.attn_k`, keyHeads * headSize, hidden),
      linear(`${at}.self_attn.v_proj`, `${blk}.attn_v`, keyHeads * headSize, hidden),
      linear(`${at}.self_attn.o_proj`, `${blk}.attn_output`, hidden, heads * headSize, added),
      tensor(`${at}.post_attention_layernorm`, `${blk}.ffn_norm`, [hidden]),
      linear(`${at}.mlp.gate_proj`, `${blk}.ffn_gate`, inner, hidden),
      linear(`${at}.mlp.up_proj`, `${blk}.ffn_up`, inner, hidden),
      linear(`${at}.mlp.down_proj`, `${blk}.ffn_down`, hidden, inner, added),
    ];
  };
  return [
    linear("model.embed_tokens", "token_embd", vocabulary, hidden, 1 / 2),
    ...Array.from({ length: layers }, (_, layer) => block(layer)).flat(),
    tensor("model.norm", "output_norm", [hidden]),
    ...(tied ? [] : [linear("lm_head", "output", vocabulary, hidden, 1 / 2)]),
  ];
};

/* ---- Values ---- */

/** fp32 to Q4_0 blocks as llama.cpp quantises: the element of the largest magnitude becomes −8·d. */
const q4 = (data) => {
  const { blockElements, blockBytes } = encodings.Q4_0;
  const scales = new Float32Array(data.length / blockElements);
  for (let i = 0; i < scales.length; i++) {
    let most = 0;
    for (let j = i * blockElements; j < (i + 1) * blockElements; j++)
      if (Math.abs(data[j]) > Math.abs(most)) most = data[j];
    scales[i] = most / -8;
  }
  const halves = writers.F16(scales);
  const bytes = new Uint8Array(scales.length * blockBytes);
  scales.forEach((scale, i) => {
    const quant = (j) => Math.min(15, Math.floor(data[i * blockElements + j] / scale + 8.5));
    bytes[i * blockBytes] = halves[2 * i];
    bytes[i * blockBytes + 1] = halves[2 * i + 1];
    for (let j = 0; j < 16; j++) bytes[i * blockBytes + 2 + j] = quant(j) | (quant(j + 16) << 4);
  });
  return bytes;
};
const encoders = { ...writers, Q4_0: q4 };

/** Elements drawn: a power of two far above any row's length. */
const POOL = 2 ** 20;

/**
 * A function from a tensor and its encoding to the pieces of its bytes. Drawing and encoding billions of normals would take
 * minutes, so one pool is drawn, encoded once for each standard deviation, and windows of it are written as they lie in
 * memory: the disk is the limit, and memory is a few pools. The windows begin at random places, since a pool repeated end to
 * end would give a matrix few different rows.
 */
const piecesFrom = (tensors, seed, signal) => {
  const key = (name) => tensorKey({ seed, stream: "init", step: 0, query: 0 }, tensorId(name));
  const drawn = new Float32Array(Math.min(POOL, Math.max(...tensors.map(({ shape }) => elementsOf(shape)))));
  fillNoise("gaussian", key("pool"), 0, drawn);
  const pools = new Map();
  const poolOf = (std, encoding) => {
    const pool = pools.get(std) ?? encoders[encoding](drawn.map((z) => z * std));
    pools.set(std, pool);
    return pool;
  };
  return function* ({ name, shape, std }, encoding) {
    if (std === undefined) {
      yield encoders[encoding](new Float32Array(elementsOf(shape)).fill(1));
      return;
    }
    const { blockElements, blockBytes } = encodings[encoding];
    const pool = poolOf(std, encoding);
    const window = Math.floor(pool.length / blockBytes / 2);
    const places = key(name);
    for (let i = 0, left = elementsOf(shape) / blockElements; left > 0; i++, left -= window) {
      signal.throwIfAborted();
      const from = Math.floor(uniformAt(places, i) * (window + 1));
      yield pool.subarray(from * blockBytes, (from + Math.min(left, window)) * blockBytes);
    }
  };
};

/* ---- The tokenizer: GPT-2's 256 letters for bytes, no merges, so that a byte is a token ---- */

const BOS = 0;
const EOS = 1;
const SPECIAL = ["<s>", "</s>"];
/** llama.cpp's token types. */
const [NORMAL, CONTROL, UNUSED] = [1, 3, 5];

/** GPT-2's letters of bytes: printable ones stand for themselves, the others for letters from U+0100 on. */
const byteLetters = () => {
  const printable = (byte) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad && byte <= 0xff);
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const others = bytes.filter((byte) => !printable(byte));
  return bytes.map((byte) => String.fromCodePoint(printable(byte) ? byte : 0x100 + others.indexOf(byte)));
};

/** The tokenizer as GGUF metadata: [key, type, value]. Every row of the embedding has a token. */
const tokenizerEntries = ({ vocabulary }) => {
  const used = [...SPECIAL, ...byteLetters()];
  const tokens = [...used, ...Array.from({ length: vocabulary - used.length }, (_, i) => `<unused${i}>`)];
  const typeOf = (id) => (id < SPECIAL.length ? CONTROL : id < used.length ? NORMAL : UNUSED);
  return [
    ["tokenizer.ggml.model", "text", "gpt2"],
    ["tokenizer.ggml.pre", "text", "gpt-2"],
    ["tokenizer.ggml.tokens", "texts", tokens],
    ["tokenizer.ggml.token_type", "integers", tokens.map((_, id) => typeOf(id))],
    ["tokenizer.ggml.merges", "texts", []],
    ["tokenizer.ggml.bos_token_id", "u32", BOS],
    ["tokenizer.ggml.eos_token_id", "u32", EOS],
    ["tokenizer.ggml.add_bos_token", "flag", false],
  ];
};

/* ---- A lone GGUF ---- */

const u32 = (value) => Buffer.from(Uint32Array.of(value).buffer);
const u64 = (value) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
const text = (value) => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
/** In one buffer from the start: a vocabulary of small ones would take many times its size. */
const texts = (values) => {
  const bytes = Buffer.alloc(values.reduce((sum, value) => sum + 8 + Buffer.byteLength(value), 0));
  let at = 0;
  for (const value of values) {
    at = bytes.writeBigUInt64LE(BigInt(Buffer.byteLength(value)), at);
    at += bytes.write(value, at);
  }
  return bytes;
};
const list = (type, values, bytes) => Buffer.concat([u32(type), u64(values.length), bytes]);
/** Types of metadata: ggml's number, and the bytes of a value. */
const types = {
  u32: [4, u32],
  f32: [6, (value) => Buffer.from(Float32Array.of(value).buffer)],
  flag: [7, (value) => Buffer.of(value ? 1 : 0)],
  text: [8, text],
  texts: [9, (values) => list(8, values, texts(values))],
  integers: [9, (values) => list(5, values, Buffer.from(Int32Array.from(values).buffer))],
};
const ggmlTypes = { F32: 0, Q4_0: 2 };
const ALIGNMENT = 32;
const aligned = (place) => Math.ceil(place / ALIGNMENT) * ALIGNMENT;
const paddingAfter = (place) => Buffer.alloc(aligned(place) - place);

const modelEntries = (model) => [
  ["general.architecture", "text", "llama"],
  ["general.name", "text", `random ${model.size}`],
  ["llama.block_count", "u32", model.layers],
  ["llama.context_length", "u32", model.context],
  ["llama.embedding_length", "u32", model.hidden],
  ["llama.feed_forward_length", "u32", model.inner],
  ["llama.attention.head_count", "u32", model.heads],
  ["llama.attention.head_count_kv", "u32", model.keyHeads],
  ["llama.attention.key_length", "u32", model.headSize],
  ["llama.attention.value_length", "u32", model.headSize],
  ["llama.attention.layer_norm_rms_epsilon", "f32", EPSILON],
  ["llama.rope.dimension_count", "u32", model.headSize],
  ["llama.rope.freq_base", "f32", model.theta],
  ["llama.vocab_size", "u32", model.vocabulary],
];

const bytesIn = ({ shape }, encoding) =>
  (elementsOf(shape) / encodings[encoding].blockElements) * encodings[encoding].blockBytes;

/** The rows of queries and keys need not be interleaved as llama.cpp has them: in any order they are as random. */
const writeGguf = async (out, model, tensors, pieces) => {
  const encodingOf = ({ std }) => (std === undefined ? "F32" : "Q4_0");
  const entries = [...modelEntries(model), ...tokenizerEntries(model)].map(([key, type, value]) => {
    const [number, bytesOf] = types[type];
    return Buffer.concat([text(key), u32(number), bytesOf(value)]);
  });
  let at = 0;
  const infos = tensors.map((tensor) => {
    const { gguf, shape } = tensor;
    const info = [text(gguf), u32(shape.length), ...[...shape].reverse().map(u64), u32(ggmlTypes[encodingOf(tensor)])];
    const place = at;
    at = aligned(at + bytesIn(tensor, encodingOf(tensor)));
    return Buffer.concat([...info, u64(place)]);
  });
  const counts = [u64(tensors.length), u64(entries.length)];
  const header = Buffer.concat([Buffer.from("GGUF"), u32(3), ...counts, ...entries, ...infos]);
  const chunks = function* () {
    yield header;
    yield paddingAfter(header.length);
    for (const tensor of tensors) {
      yield* pieces(tensor, encodingOf(tensor));
      yield paddingAfter(bytesIn(tensor, encodingOf(tensor)));
    }
  };
  await writeFileAtomic(out, chunks());
  return aligned(header.length) + at;
};

/* ---- A hub folder ---- */

const dtypes = { float32: "F32", bfloat16: "BF16", float16: "F16" };

const configOf = (model, dtype) => ({
  architectures: ["LlamaForCausalLM"],
  attention_bias: false,
  bos_token_id: BOS,
  dtype,
  eos_token_id: EOS,
  head_dim: model.headSize,
  hidden_act: "silu",
  hidden_size: model.hidden,
  intermediate_size: model.inner,
  max_position_embeddings: model.context,
  mlp_bias: false,
  model_type: "llama",
  num_attention_heads: model.heads,
  num_hidden_layers: model.layers,
  num_key_value_heads: model.keyHeads,
  rms_norm_eps: EPSILON,
  rope_theta: model.theta,
  tie_word_embeddings: model.tied,
  vocab_size: model.vocabulary,
});

/** Tensors in files of at most so many bytes, in their order; a tensor larger than that has a file of its own. */
const shardsOf = (tensors, bytesOf, most) => {
  const shards = [];
  let room = 0;
  for (const tensor of tensors) {
    const bytes = bytesOf(tensor);
    if (shards.length === 0 || bytes > room) {
      shards.push([]);
      room = most;
    }
    shards.at(-1).push(tensor);
    room -= bytes;
  }
  return shards;
};

const writeHub = async (out, model, tensors, pieces, dtype, shardSize) => {
  const encoding = dtypes[dtype];
  const bytesOf = (tensor) => bytesIn(tensor, encoding);
  const total = tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0);
  const shards = shardsOf(tensors, bytesOf, shardSize);
  const count = (number) => String(number).padStart(5, "0");
  const nameOf = (i) =>
    shards.length === 1 ? "model.safetensors" : `model-${count(i + 1)}-of-${count(shards.length)}.safetensors`;
  const partial = out + PARTIAL;
  const writeJson = (name, value) => writeFileAtomic(join(partial, name), `${JSON.stringify(value, null, 2)}\n`);
  // What a killed process left.
  await rm(partial, { recursive: true, force: true });
  try {
    await mkdir(partial);
    for (const [i, shard] of shards.entries()) {
      const entries = shard.map((tensor) => ({
        name: tensor.name,
        shape: tensor.shape,
        dtype: encoding,
        bytes: async function* () {
          yield* pieces(tensor, encoding);
        },
      }));
      await writeSafetensors(join(partial, nameOf(i)), entries);
    }
    if (shards.length > 1) {
      const weight_map = Object.fromEntries(shards.flatMap((shard, i) => shard.map(({ name }) => [name, nameOf(i)])));
      await writeJson("model.safetensors.index.json", { metadata: { total_size: total }, weight_map });
    }
    const metadata = new Map(tokenizerEntries(model).map(([key, , value]) => [key, value]));
    const { tokenizer, config } = ggufTokenizer(metadata, out);
    await writeJson("tokenizer.json", tokenizer);
    await writeJson("tokenizer_config.json", config);
    await writeJson("config.json", configOf(model, dtype));
    await rename(partial, out);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw writeError(out, error);
  }
  return total;
};

/* ---- The command ---- */

const parametersOf = (tensors) => tensors.reduce((sum, { shape }) => sum + elementsOf(shape), 0);
const grouped = (count) => count.toLocaleString("en");

const usage = `Usage: node tools/random-model.mjs SIZE OUT [--format hub|gguf] [--dtype ${Object.keys(dtypes).join("|")}] [--seed N]

Writes a Llama-shaped model with random weights. SIZE is one of
${models.map((model) => `  ${model.size.padEnd(5)} ${grouped(parametersOf(tensorsOf(model))).padStart(13)} parameters, the shape of ${model.like}`).join("\n")}

  --format      hub: a folder with config.json, safetensors and tokenizer files
                gguf: one file, matrices in Q4_0
                (default: gguf where OUT ends in .gguf, hub elsewhere)
  --dtype       of a hub folder's weights (default float32)
  --seed        an integer below 2^64; the same one gives the same bytes (default 0)
  --shard-size  bytes in a safetensors file at most (default 5000000000)`;

class UsageError extends Error {}

const readArguments = (args) => {
  const texts = Object.fromEntries(["format", "dtype", "seed", "shard-size"].map((name) => [name, { type: "string" }]));
  let parsed;
  try {
    parsed = parseArgs({ args, allowPositionals: true, options: { ...texts, help: { type: "boolean", short: "h" } } });
  } catch (error) {
    throw new UsageError(error.message);
  }
  const [size, out, ...more] = parsed.positionals;
  const { help, format = out?.endsWith(".gguf") ? "gguf" : "hub", dtype, seed = "0", ...rest } = parsed.values;
  if (help) return undefined;
  const shardSize = rest["shard-size"] ?? "5e9";
  const model = models.find((known) => known.size === size);
  const faults = [
    [out === undefined || more.length > 0, "Give SIZE and OUT."],
    [model === undefined, `Unknown size ${JSON.stringify(size)}. Known: ${models.map((one) => one.size).join(", ")}.`],
    [format !== "hub" && format !== "gguf", `Unknown format ${JSON.stringify(format)}. Known: hub, gguf.`],
    [
      dtype !== undefined && !Object.hasOwn(dtypes, dtype),
      `Unknown dtype ${JSON.stringify(dtype)}. Known: ${Object.keys(dtypes).join(", ")}.`,
    ],
    [
      format === "gguf" && (dtype !== undefined || rest["shard-size"] !== undefined),
      "A GGUF is one file in Q4_0: --dtype and --shard-size are for hub folders.",
    ],
    [format === "gguf" && !out?.endsWith(".gguf"), `A GGUF's name ends in .gguf: ${out}.gguf`],
    [!/^\d+$/.test(seed) || BigInt(seed) >= 2n ** 64n, `--seed ${seed} is not an integer below 2^64.`],
    [!(Number(shardSize) >= 1), `--shard-size ${shardSize} is not a number of bytes.`],
  ];
  const fault = faults.find(([wrong]) => wrong)?.[1];
  if (fault !== undefined) throw new UsageError(fault);
  // Without the slash that a folder's name may end in.
  return {
    model,
    out: resolve(out),
    format,
    dtype: dtype ?? "float32",
    seed: BigInt(seed),
    shardSize: Number(shardSize),
  };
};

const interruption = new AbortController();
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(name, () => interruption.abort(name));

try {
  const options = readArguments(process.argv.slice(2));
  if (options === undefined) console.log(usage);
  else {
    const { model, out, format, dtype, seed, shardSize } = options;
    if (existsSync(out)) throw new UsageError(`${out} exists already.`);
    const started = performance.now();
    const tensors = tensorsOf(model);
    const pieces = piecesFrom(tensors, seed, interruption.signal);
    const bytes =
      format === "gguf"
        ? await writeGguf(out, model, tensors, pieces)
        : await writeHub(out, model, tensors, pieces, dtype, shardSize);
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    const peak = Math.round(process.resourceUsage().maxRSS / 1024);
    const encoded = format === "gguf" ? "Q4_0" : dtype;
    console.log(
      `${out}: ${grouped(parametersOf(tensors))} parameters, ${encoded}, ${(bytes / 1e6).toFixed(1)} MB in ${seconds} s, at most ${peak} MiB of memory`,
    );
  }
} catch (error) {
  const { aborted, reason } = interruption.signal;
  if (aborted) console.error("Interrupted: nothing is left behind.");
  else if (error instanceof UsageError) console.error(`${error.message}\n\n${usage}`);
  else console.error(error instanceof Error && error.name === "ZerothError" ? error.message : error);
  process.exitCode = aborted ? 128 + constants.signals[reason] : error instanceof UsageError ? 2 : 1;
}
