import { z } from "zod";
import { ZerothError } from "../../errors.js";
import { ggufTokenizer, type PreTokenizer, preTokenizers, tokenTypes } from "../../model/gguf/tokenizer.js";
import { type GgufEntry, metadataOf } from "../../model/gguf/write.js";
import type { Json } from "../../model/json.js";
import type { OpenModel } from "../../model/open.js";
import { makeTokenizer } from "../../model/tokenizer.js";

/* What llama.cpp needs to cut text as the model's `tokenizer.json` does. */

const pieces = z.looseObject({ type: z.string() });
const schema = z.looseObject({
  added_tokens: z.array(z.looseObject({ id: z.int().min(0), content: z.string(), special: z.boolean() })).default([]),
  normalizer: pieces.nullish(),
  pre_tokenizer: pieces.nullish(),
  model: z.looseObject({
    type: z.string().nullish(),
    vocab: z.record(z.string(), z.int().min(0)),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
    byte_fallback: z.boolean().nullish(),
    ignore_merges: z.boolean().nullish(),
  }),
});
type TokenizerJson = z.output<typeof schema>;

const partsOf = (step: Json, list: string): readonly Json[] =>
  step.type === "Sequence" && Array.isArray(step[list]) ? step[list] : [step];

/** The steps that cut text into words, in one spelling: equal rules give equal texts. */
const rulesOf = (steps: readonly Json[]): string =>
  JSON.stringify(
    steps.flatMap((step): readonly unknown[] => {
      if (step.type === "ByteLevel") {
        if (step.add_prefix_space === true) return ["a space before the text"];
        return step.use_regex === false ? [] : preTokenizers["gpt-2"].steps.map(ruleOf);
      }
      return [ruleOf(step)];
    }),
  );
const ruleOf = ({ type, pattern, behavior, invert, individual_digits }: Json): unknown => [
  type,
  ...(type === "Split" ? [pattern, behavior, invert ?? false] : [individual_digits]),
];

/** llama.cpp's name of the way that a byte-level tokenizer cuts text. */
const preName = ({ normalizer, pre_tokenizer, model }: TokenizerJson): string | undefined => {
  const steps = pre_tokenizer ? partsOf(pre_tokenizer, "pretokenizers") : [];
  if (!steps.some(({ type }) => type === "ByteLevel")) return undefined;
  const wanted = [rulesOf(steps), normalizer?.type, model.ignore_merges ?? false];
  const sameAs = ({ steps: known, normalizer: before, ignoreMerges = false }: PreTokenizer): boolean =>
    String([rulesOf(known), before?.type, ignoreMerges]) === String(wanted);
  return Object.entries<PreTokenizer>(preTokenizers).find(([name, rule]) => name !== "default" && sameAs(rule))?.[0];
};

const pairOf = (merge: string | readonly [string, string]): readonly [string, string] => {
  if (typeof merge !== "string") return merge;
  const at = merge.indexOf(" ", 1);
  return [merge.slice(0, at), merge.slice(at + 1)];
};

/** SentencePiece's scores, from the order in which its merges are tried. */
const scoresOf = (tokens: readonly string[], { model }: TokenizerJson): readonly number[] => {
  const first = new Map<string, number>();
  for (const [rank, merge] of model.merges.entries()) {
    const made = pairOf(merge).join("");
    if (!first.has(made)) first.set(made, rank);
  }
  return tokens.map((token) => -(first.get(token) ?? model.merges.length));
};

/** The two kinds that llama.cpp reads from such files: what is particular to each. */
const kindEntries = (json: TokenizerJson, tokens: readonly string[]): readonly GgufEntry[] | undefined => {
  const pre = preName(json);
  if (pre !== undefined) {
    return [
      ["tokenizer.ggml.model", "string", "gpt2"],
      ["tokenizer.ggml.pre", "string", pre],
      ["tokenizer.ggml.merges", "string", json.model.merges.map((merge) => pairOf(merge).join(" "))],
    ];
  }
  if (json.model.byte_fallback !== true) return undefined;
  const before = [json.normalizer, json.pre_tokenizer].flatMap((step) => (step ? partsOf(step, "normalizers") : []));
  const prefixed = before.some(
    ({ type, prepend_scheme: scheme }) => type === "Prepend" || (type === "Metaspace" && scheme !== "never"),
  );
  return [
    ["tokenizer.ggml.model", "string", "llama"],
    ["tokenizer.ggml.pre", "string", "default"],
    ["tokenizer.ggml.scores", "f32", scoresOf(tokens, json)],
    ["tokenizer.ggml.add_space_prefix", "bool", prefixed],
  ];
};

/** Texts that tokenizers cut differently: numbers, contractions, spaces, accents, scripts, symbols. */
const PROBES = [
  "Hello, world! It's 12345.67 and they'll say 3x7=21",
  "  two  spaces\n\n\ttabs and lines\r\n   ",
  "I'LL naïve café — Привет, 東京 🙂🙂",
  "const f = (x) => x**2; // don't_stop",
];

/** Ids of special tokens by their role in llama.cpp: as the tokenizer's configuration has them, else the model's. */
const specialIds = (files: OpenModel["tokenizerFiles"], config: Json, idOf: (token: string) => number | undefined) =>
  Object.entries({ bos: "bos", eos: "eos", unk: "unknown", pad: "padding" }).flatMap(([role, name]): GgufEntry[] => {
    const said = files.config[`${role}_token`];
    const content = typeof said === "object" && said !== null && "content" in said ? said.content : said;
    const given = [config[`${role}_token_id`]].flat()[0];
    const id = typeof content === "string" ? idOf(content) : typeof given === "number" ? given : undefined;
    return id === undefined ? [] : [[`tokenizer.ggml.${name}_token_id`, "u32", id]];
  });

/**
 * A model's tokenizer as llama.cpp's metadata.
 *
 * @param rows of the embedding: llama.cpp wants a token for each
 * @throws ZerothError when llama.cpp knows no tokenizer that cuts text the same way
 */
export const tokenizerEntries = (model: OpenModel, rows: number): readonly GgufEntry[] => {
  const { tokenizerFiles: files, tokenizer, config } = model;
  const refusal = (why: string): ZerothError =>
    new ZerothError(`${files.from}: ${why}, so this model has no GGUF form. Export it as onnx, or merge it.`);
  const parsed = schema.safeParse(files.tokenizer);
  if (!parsed.success) throw refusal("not a byte-pair tokenizer, the only kind that Zeroth writes for llama.cpp");
  const json = parsed.data;
  const added = new Map(json.added_tokens.map((token) => [token.id, token]));
  const known = new Map(Object.entries(json.model.vocab).map(([token, id]) => [id, token]));
  for (const [id, { content }] of added) known.set(id, content);
  if (Math.max(...known.keys()) >= rows) throw refusal(`it has tokens beyond the model's ${rows} embeddings`);
  const tokens = Array.from({ length: rows }, (_, id) => known.get(id) ?? `[PAD${id}]`);
  const kind = kindEntries(json, tokens);
  if (kind === undefined) throw refusal("llama.cpp has no name for the way it cuts text");
  const unknown = json.model.unk_token;
  const typeOf = (token: string, id: number): number => {
    const one = added.get(id);
    if (!known.has(id)) return tokenTypes.unused;
    if (token === unknown) return tokenTypes.unknown;
    if (one !== undefined) return one.special ? tokenTypes.control : tokenTypes.userDefined;
    return json.model.byte_fallback === true && /^<0x[0-9A-F]{2}>$/.test(token) ? tokenTypes.byte : tokenTypes.normal;
  };
  const ids = new Map([...known].map(([id, token]) => [token, id]));
  const specials = specialIds(files, config, (token) => ids.get(token));
  const bos = specials.find(([key]) => key === "tokenizer.ggml.bos_token_id")?.[2];
  const entries: readonly GgufEntry[] = [
    ...kind,
    ["tokenizer.ggml.tokens", "string", tokens],
    ["tokenizer.ggml.token_type", "i32", tokens.map(typeOf)],
    ...specials,
    ["tokenizer.ggml.add_bos_token", "bool", bos !== undefined && tokenizer.encode("", { special: true })[0] === bos],
    ...(files.chatTemplate === undefined
      ? []
      : ([["tokenizer.chat_template", "string", files.chatTemplate]] satisfies readonly GgufEntry[])),
  ];
  // The proof: read back, it must cut texts as the original does.
  const back = makeTokenizer(ggufTokenizer(metadataOf(entries), files.from));
  for (const text of PROBES) {
    for (const special of [false, true]) {
      if (String(back.encode(text, { special })) !== String(tokenizer.encode(text, { special })))
        throw refusal("llama.cpp would cut text in another way than it does");
    }
  }
  return entries;
};
