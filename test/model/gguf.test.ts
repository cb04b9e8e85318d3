import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ZerothError } from "../../src/errors.js";
import { fingerprint, type OpenModel, openModel } from "../../src/model/open.js";
import { readTensorSync } from "../../src/model/weights.js";
import {
  f32Tensor,
  floats,
  ggufBytes,
  integers,
  modelEntries,
  modelTensors,
  strings,
  tinyGguf,
  tinyShards,
  tokenizerEntries,
} from "./gguf-file.js";
import { config, shapes, temporaryFolder, valuesOf, WORDS, writeTinyModel } from "./tiny.js";

const open = async (bytes: Uint8Array): Promise<OpenModel> => {
  const file = join(await temporaryFolder(), "tiny.gguf");
  await writeFile(file, bytes);
  return openModel(file);
};
const refusal = async (bytes: Uint8Array): Promise<string> => {
  const thrown: unknown = await open(bytes).then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(ZerothError);
  const message = thrown instanceof ZerothError ? thrown.message : "";
  expect(message).toContain("tiny.gguf");
  expect(message.split("\n").length).toBeLessThanOrEqual(4);
  return message;
};
const text = (model: OpenModel, name: string): string =>
  Buffer.from(model.sidecars().find((sidecar) => sidecar.name === name)?.content ?? []).toString();

describe("a lone GGUF file", () => {
  it("has the tensors of the model it was made from: names, shapes, rotary rows in order", async () => {
    const model = await open(tinyGguf());
    expect(new Set(model.weights.keys())).toEqual(new Set(Object.keys(shapes)));
    for (const [name, source] of model.weights) {
      expect(source.shape).toEqual(shapes[name]);
      expect(readTensorSync(source)).toEqual(valuesOf(name));
    }
  });

  it("has a configuration from its metadata, and one weight file", async () => {
    const model = await open(tinyGguf());
    const { rms_norm_eps, ...expected } = config;
    expect(model.config).toMatchObject({
      ...expected,
      head_dim: 4,
      rope_theta: 500000,
      bos_token_id: 0,
      eos_token_id: 1,
      attention_bias: false,
    });
    expect(model.config.rms_norm_eps).toBeCloseTo(rms_norm_eps, 10);
    expect(model.config).not.toHaveProperty("pad_token_id");
    expect(model.config).not.toHaveProperty("rope_scaling");
    expect(model.files).toHaveLength(1);
    expect(model.origin.kind).toBe("gguf");
  });

  it("an output tensor of its own makes the head untied", async () => {
    const head = { name: "output.weight", shape: [12, 8], type: 0, data: new Uint8Array(12 * 8 * 4) };
    const model = await open(tinyGguf([], [head]));
    expect(model.config.tie_word_embeddings).toBe(false);
    expect(model.weights.get("lm_head.weight")?.shape).toEqual([12, 8]);
  });

  it("biases keep their names, and those of queries are put in order too", async () => {
    const model = await open(tinyGguf([], [f32Tensor("blk.0.attn_q.bias", [0, 1, 2, 3, 4, 5, 6, 7])]));
    const bias = model.weights.get("model.layers.0.self_attn.q_proj.bias");
    expect(bias && [...readTensorSync(bias)]).toEqual([0, 2, 1, 3, 4, 6, 5, 7]);
    expect(model.config.attention_bias).toBe(true);
  });

  it("in a folder with a configuration and a tokenizer of its own these go first", async () => {
    const folder = await temporaryFolder();
    await writeTinyModel(folder, ["model.safetensors"]);
    await writeFile(join(folder, "a.gguf"), tinyGguf());
    const model = await openModel(folder);
    expect(model.config).toEqual(config);
    expect(model.configFile).toBe(join(folder, "config.json"));
    expect(model.sidecars().map(({ name }) => name)).toEqual(["tokenizer.json", "tokenizer_config.json"]);
    expect(text(model, "tokenizer_config.json")).toContain('"content":"</s>"');
    expect(model.origin).toEqual({ spec: folder, kind: "gguf", path: join(folder, "a.gguf") });
  });

  it("rotary factors of Llama 3's kind become its settings; all ones are none; others are refused", async () => {
    // At head size 4 and base 500000 the slow wave is about 4443 tokens long: between 8192/4 and 8192, so divided in part.
    // Its divisor is then not Llama 3's whole factor, and no other says what that is.
    expect(await refusal(tinyGguf([], [f32Tensor("rope_freqs.weight", [1, 1.9])]))).toContain("not Llama 3's");
    expect((await open(tinyGguf([], [f32Tensor("rope_freqs.weight", [1, 1])]))).config).not.toHaveProperty(
      "rope_scaling",
    );
    const wide = modelEntries.map((entry) =>
      entry[0] === "llama.rope.freq_base" ? ([entry[0], 6, 1e9] as const) : entry,
    );
    const scaled = ggufBytes(
      [...wide, ...tokenizerEntries],
      [...modelTensors(), f32Tensor("rope_freqs.weight", [1, 32])],
    );
    expect((await open(scaled)).config.rope_scaling).toEqual({
      rope_type: "llama3",
      factor: 32,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    });
    expect(await refusal(tinyGguf([], [f32Tensor("rope_freqs.weight", [1, 1, 1])]))).toContain("not Llama 3's");
  });

  it("other scalings are passed on by name", async () => {
    const model = await open(
      tinyGguf([
        ["llama.rope.scaling.type", 8, "linear"],
        ["llama.rope.scaling.factor", 6, 4],
      ]),
    );
    expect(model.config.rope_scaling).toEqual({ rope_type: "linear", factor: 4 });
  });

  it.each([
    ["an architecture that is not known", [["general.architecture", 8, "mamba"]], 'architecture "mamba"'],
    ["a number that is a list", [["llama.attention.head_count_kv", integers, [1, 1]]], "head_count_kv"],
    ["heads turned in part", [["llama.rope.dimension_count", 4, 2]], "dimension_count"],
    ["a tokenizer of another kind", [["tokenizer.ggml.model", 8, "bert"]], 'kind "bert"'],
    ["words cut in an unknown way", [["tokenizer.ggml.pre", 8, "toString"]], '"toString"'],
    ["an odd alignment", [["general.alignment", 4, 0]], "alignment is 0"],
  ] as const)("%s is refused", async (_, entries, words) => {
    expect(await refusal(tinyGguf(entries))).toContain(words);
  });

  it("missing metadata, a tensor of experts, an unknown encoding, overlaps: each is named", async () => {
    const lacks = modelEntries.filter(([key]) => key !== "llama.block_count");
    expect(await refusal(ggufBytes([...lacks, ...tokenizerEntries], modelTensors()))).toContain("llama.block_count");
    expect(await refusal(tinyGguf([], [f32Tensor("blk.0.ffn_gate_exps.weight", [1])]))).toContain("ffn_gate_exps");
    const odd = { name: "x", shape: [32], type: 21, data: new Uint8Array(32) };
    expect(await refusal(tinyGguf([], [odd]))).toContain("type 21");
    expect(await refusal(ggufBytes(modelEntries, modelTensors().slice(1)))).toContain("token_embd");
    expect(await refusal(ggufBytes(modelEntries, modelTensors()))).toContain('kind "none"');
    const short = { name: "x", shape: [1024], type: 0, data: new Uint8Array(4) };
    const after = f32Tensor("y", [1]);
    expect(await refusal(ggufBytes([], [short, after, f32Tensor("z", Array(1024).fill(0))]))).toContain(
      "x and y overlap",
    );
    expect(await refusal(ggufBytes([], [after, after]))).toContain("same name");
    expect(await refusal(ggufBytes([], [short]))).toContain("x reaches to byte");
    expect(await refusal(ggufBytes([], [], 1))).toContain("version is 1");
    expect(await refusal(Buffer.from("GGUF"))).toContain("4 bytes");
    expect(await refusal(Buffer.alloc(0))).toContain("it is empty");
    expect(await refusal(Buffer.alloc(64))).toContain("does not begin with GGUF");
  });

  it("a list that claims billions of values costs nothing", async () => {
    const bytes = ggufBytes([["list", integers, [1, 2, 3]]], []);
    const at = bytes.indexOf("list") + 4 + 4 + 4;
    for (const claimed of [2n ** 40n, 2n ** 63n, 2n ** 23n - 1n]) {
      bytes.writeBigUInt64LE(claimed, at);
      const start = performance.now();
      expect(await refusal(bytes)).toContain("not a valid GGUF file");
      expect(performance.now() - start).toBeLessThan(1000);
    }
  });
});

describe("a GGUF's tokenizer", () => {
  it("byte-level BPE: merges, digits apart, special tokens; no BOS unless asked for", async () => {
    const { tokenizer } = await open(tinyGguf());
    expect(tokenizer.encode("hello hello")).toEqual([10, 11]);
    expect(tokenizer.encode("hello</s>", { special: true })).toEqual([10, 1]);
    expect(tokenizer.decode([10, 11])).toBe("hello hello");
    expect(tokenizer.decode([0, 10, 1], { skipSpecial: true })).toBe("hello");
    const withBos = await open(tinyGguf([["tokenizer.ggml.add_bos_token", 7, true]]));
    expect(withBos.tokenizer.encode("hello", { special: true })).toEqual([0, 10]);
    expect(withBos.tokenizer.encode("hello")).toEqual([10]);
  });

  it("its chat template is used and goes along as a file", async () => {
    const template = "{% for m in messages %}{{ bos_token }}{{ m.role }}:{{ m.content }}{{ eos_token }}{% endfor %}";
    const model = await open(tinyGguf([["tokenizer.chat_template", 8, template]]));
    const conversation = [{ role: "user", content: "hello" }];
    expect(model.tokenizer.chat?.(conversation, { addGenerationPrompt: false })).toBe("<s>user:hello</s>");
    expect(text(model, "chat_template.jinja")).toBe(template);
    expect((await open(tinyGguf())).tokenizer.chat).toBeUndefined();
  });

  it.each([
    ["default", "it's 2024 now", ["it", "'s", "Ġ2024", "Ġnow"]],
    ["gpt-2", "a  b\n\nc", ["a", "Ġ", "Ġb", "Ċ", "Ċ", "c"]],
    ["smollm", "in 2024.", ["in", "Ġ", "2", "0", "2", "4", "."]],
    ["llama-bpe", "IT'S 12345!\n\nyes", ["IT", "'S", "Ġ", "123", "45", "!ĊĊ", "yes"]],
    ["qwen2", "x 123", ["x", "Ġ", "1", "2", "3"]],
    ["gpt-4o", "HelloWorld's 1234", ["Hello", "World's", "Ġ", "123", "4"]],
    ["tekken", "helloWorld 12", ["hello", "World", "Ġ", "1", "2"]],
  ])("%s cuts words where the model's own tokenizer does", async (pre, sentence, words) => {
    // Every word is a token and words that are tokens stay whole, or are merged letter by letter.
    const letters = [...new Set(words.flatMap((word) => [...word]))];
    const merges: string[] = [];
    const tokens = new Set(letters);
    for (const word of words) {
      const parts = [...word];
      for (let i = 1; i < parts.length; i++) {
        const pair = `${parts.slice(0, i).join("")} ${parts[i]}`;
        if (!merges.includes(pair)) merges.push(pair);
        tokens.add(parts.slice(0, i + 1).join(""));
      }
    }
    // Would be merged first, were the text not cut between them.
    const across = words.slice(1).map((word, i) => [words[i] ?? "", word] as const);
    for (const [left, right] of across) tokens.add(left + right);
    const all = [...tokens];
    const { tokenizer } = await open(
      ggufBytes(
        [
          ...modelEntries,
          ["tokenizer.ggml.model", 8, "gpt2"],
          ["tokenizer.ggml.pre", 8, pre],
          ["tokenizer.ggml.tokens", strings, all],
          ["tokenizer.ggml.merges", strings, [...merges, ...across.map((pair) => pair.join(" "))]],
        ],
        modelTensors(),
      ),
    );
    expect(tokenizer.encode(sentence).map((id) => all[id])).toEqual(words);
    expect(tokenizer.decode(tokenizer.encode(sentence))).toBe(sentence);
  });

  it("SentencePiece: merges by score, a space in front, unknown letters as bytes, BOS by default", async () => {
    const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
    const pieces = ["▁he", "llo", "▁", "h", "e", "l", "o", "ll", "▁h", "lo", "el"];
    const tokens = ["<unk>", "<s>", "</s>", ...bytes, ...pieces];
    const scores = [0, 0, 0, ...bytes.map(() => 0), -1, -2, -9, -9, -9, -9, -9, -3, -4, -5, -6];
    const types = [2, 3, 3, ...bytes.map(() => 6), ...pieces.map(() => 1)];
    const spm = (extra: Parameters<typeof ggufBytes>[0] = []) =>
      open(
        ggufBytes(
          [
            ...modelEntries,
            ["tokenizer.ggml.model", 8, "llama"],
            ["tokenizer.ggml.tokens", strings, tokens],
            ["tokenizer.ggml.scores", floats, scores],
            ["tokenizer.ggml.token_type", integers, types],
            ["tokenizer.ggml.bos_token_id", 4, 1],
            ["tokenizer.ggml.unknown_token_id", 4, 0],
            ...extra,
          ],
          modelTensors(),
        ),
      );
    const { tokenizer } = await spm();
    const spell = (sentence: string) => tokenizer.encode(sentence, { special: true }).map((id) => tokenizer.token(id));
    expect(spell("hello")).toEqual(["<s>", "▁he", "llo"]);
    expect(spell("helé")).toEqual(["<s>", "▁he", "l", "<0xC3>", "<0xA9>"]);
    for (const sentence of ["hello", "hello  hello", "héllo 你\n", " hello"]) {
      expect(tokenizer.decode(tokenizer.encode(sentence))).toBe(sentence);
    }
    const bare = await spm([
      ["tokenizer.ggml.add_space_prefix", 7, false],
      ["tokenizer.ggml.add_bos_token", 7, false],
    ]);
    expect(bare.tokenizer.encode("llo", { special: true }).map((id) => tokens[id])).toEqual(["llo"]);
  });

  it("written as files it makes the same tokenizer", async () => {
    const folder = await temporaryFolder();
    await writeTinyModel(folder);
    const model = await open(tinyGguf([["tokenizer.ggml.add_bos_token", 7, true]]));
    for (const { name, content } of model.sidecars()) await writeFile(join(folder, name), content);
    const { tokenizer } = await openModel(folder);
    expect(tokenizer.encode("hello hello</s>", { special: true })).toEqual([0, 10, 11, 1]);
    expect(WORDS).toHaveLength(12);
  });
});

describe("a model split over several GGUF files", () => {
  const place = async (): Promise<string> => {
    const folder = await temporaryFolder();
    for (const [name, bytes] of tinyShards()) await writeFile(join(folder, name), bytes);
    return folder;
  };
  const refused = async (path: string): Promise<string> => {
    const thrown: unknown = await openModel(path).catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(ZerothError);
    return thrown instanceof Error ? thrown.message : "";
  };

  it("is that of one, by its folder or any of them", async () => {
    const folder = await place();
    const fingerprints = new Set<string>();
    for (const path of [folder, ...[...tinyShards().keys()].map((name) => join(folder, name))]) {
      const model = await openModel(path);
      expect(new Set(model.weights.keys())).toEqual(new Set(Object.keys(shapes)));
      for (const [name, source] of model.weights) expect(readTensorSync(source)).toEqual(valuesOf(name));
      expect(model.config).toEqual((await open(tinyGguf())).config);
      expect(model.files).toHaveLength(2);
      fingerprints.add(fingerprint(model));
    }
    expect(fingerprints.size).toBe(1);
  });

  it("refuses parts that are missing, renamed, mixed up or of another model, and names them", async () => {
    const [first = "", second = "", third = ""] = tinyShards().keys();
    const folder = await place();
    await rename(join(folder, second), join(folder, "alone.gguf"));
    expect(await refused(join(folder, first))).toMatch(/tiny-00002-of-00003\.gguf is missing: .* 3 files/);
    expect(await refused(join(folder, "alone.gguf"))).toMatch(/alone\.gguf says that it is part 2 of 3/);
    await writeFile(join(folder, second), tinyShards().get(third) ?? "");
    expect(await refused(join(folder, first))).toMatch(/tiny-00002-of-00003\.gguf says that it is part 3 of 3/);
    const others = ggufBytes(
      [
        ["split.no", 2, 1],
        ["split.count", 2, 3],
      ],
      modelTensors().slice(-1),
    );
    await writeFile(join(folder, second), others);
    expect(await refused(join(folder, first))).toMatch(/3 files hold 1 tensors under 2 names, and the first says/);
    await writeFile(join(folder, second), Buffer.from("GGUF"));
    expect(await refused(join(folder, first))).toMatch(/tiny-00002-of-00003\.gguf is not a valid GGUF file/);
  });
});
