import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { cp, mkdir, readFile, realpath, rename, rm, symlink, unlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { ZerothError } from "../../src/errors.js";
import { fingerprint, hashWeights, openModel } from "../../src/model/open.js";
import { writeSafetensors } from "../../src/model/safetensors.js";
import { readTensorSync } from "../../src/model/weights.js";
import {
  config,
  shapes,
  temporaryFolder,
  tensorToWrite,
  valuesOf,
  writeJson,
  writeShards,
  writeTinyModel,
} from "./tiny.js";

const refusal = async (spec: string): Promise<string> => {
  const thrown: unknown = await openModel(spec).then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(ZerothError);
  const message = thrown instanceof ZerothError ? thrown.message : "";
  expect(message.split("\n").length).toBeLessThanOrEqual(4);
  return message;
};

describe("a model folder", () => {
  it("one safetensors file: tensors, configuration, tokenizer", async () => {
    const folder = await temporaryFolder();
    await writeTinyModel(folder);
    const model = await openModel(folder);
    expect(model.config).toEqual(config);
    expect(model.files).toEqual([await realpath(join(folder, "model.safetensors"))]);
    expect([...model.weights].map(([name, { shape }]) => [name, shape])).toEqual(Object.entries(shapes));
    for (const [name, source] of model.weights) expect(readTensorSync(source)).toEqual(valuesOf(name));
    expect(model.tokenizer.encode("hello hello")).toEqual([10, 11]);
    expect(model.sidecars().map(({ name }) => name)).toEqual(["tokenizer.json", "tokenizer_config.json"]);
  });

  it("shards: the same tensors, files in the order of their names", async () => {
    const folder = await temporaryFolder();
    await writeTinyModel(folder, ["model.safetensors"]);
    await writeShards(folder);
    const model = await openModel(folder);
    expect(model.files.map((file) => file.slice(-32))).toEqual([
      "model-00001-of-00002.safetensors",
      "model-00002-of-00002.safetensors",
    ]);
    for (const name of Object.keys(shapes)) {
      const source = model.weights.get(name);
      expect(source && readTensorSync(source)).toEqual(valuesOf(name));
    }
  });

  it("links into another folder are resolved", async () => {
    const [folder, blobs] = [await temporaryFolder(), await temporaryFolder()];
    await writeTinyModel(folder);
    await rename(join(folder, "model.safetensors"), join(blobs, "abc"));
    await symlink(join(blobs, "abc"), join(folder, "model.safetensors"));
    const { weights, files } = await openModel(folder);
    expect(files).toEqual([await realpath(join(blobs, "abc"))]);
    expect(new Set([...weights.values()].map(({ file }) => file))).toEqual(new Set(files));
  });

  it("shards lie in the folder or, of a hub's snapshot, among its blobs; a link to anywhere else is refused", async () => {
    const place = await temporaryFolder();
    const [snapshot, blobs] = [join(place, "snapshots", "abc"), join(place, "blobs")];
    await mkdir(snapshot, { recursive: true });
    await mkdir(blobs);
    await writeTinyModel(snapshot, ["model.safetensors"]);
    await writeShards(snapshot);
    const shard = "model-00001-of-00002.safetensors";
    const link = async (from: string, to: string) => {
      await rename(join(snapshot, shard), to);
      await symlink(from, join(snapshot, shard));
    };
    await link("../../blobs/123", join(blobs, "123"));
    expect((await openModel(snapshot)).files).toContain(await realpath(join(blobs, "123")));

    const elsewhere = await temporaryFolder();
    await unlink(join(snapshot, shard));
    await rename(join(blobs, "123"), join(elsewhere, "123"));
    await symlink(join(elsewhere, "123"), join(snapshot, shard));
    expect(await refusal(snapshot)).toContain(
      `${join(snapshot, shard)}, which model.safetensors.index.json names, is a link out of its folder`,
    );
    // By way of a link that lies in the folder itself, too.
    await rename(join(snapshot, shard), join(snapshot, "hop"));
    await symlink("hop", join(snapshot, shard));
    expect(await refusal(snapshot)).toContain("is a link out of its folder");
  });

  it("tensors of other types are left out, and norms that TensorFlow named have their names of today", async () => {
    const folder = await temporaryFolder();
    await writeTinyModel(folder, ["model.safetensors"]);
    const bytes = () => new Uint8Array(16);
    await writeSafetensors(join(folder, "model.safetensors"), [
      { name: "bert.embeddings.LayerNorm.gamma", shape: [4], dtype: "F32", bytes },
      { name: "bert.embeddings.LayerNorm.beta", shape: [4], dtype: "F32", bytes },
      { name: "bert.embeddings.position_ids", shape: [4], dtype: "I32", bytes },
    ]);
    const { weights, unread } = await openModel(folder);
    expect([...weights.keys()].sort()).toEqual(["bert.embeddings.LayerNorm.bias", "bert.embeddings.LayerNorm.weight"]);
    expect([...(unread ?? [])]).toEqual([
      ["bert.embeddings.position_ids", { file: join(folder, "model.safetensors"), dtype: "I32" }],
    ]);
  });

  it("the chat template: a file, a text, or a list of named ones", async () => {
    const folder = await temporaryFolder();
    await writeTinyModel(folder);
    const say = async () =>
      (await openModel(folder)).tokenizer.chat?.([{ role: "user", content: "hello" }], { addGenerationPrompt: false });
    expect(await say()).toBeUndefined();
    const named = [
      { name: "tool_use", template: "no" },
      { name: "default", template: "{{ messages[0].content }}{{ eos_token }}" },
    ];
    await writeJson(join(folder, "tokenizer_config.json"), { eos_token: { content: "</s>" }, chat_template: named });
    expect(await say()).toBe("hello</s>");
    await writeJson(join(folder, "tokenizer_config.json"), { bos_token: "<s>", chat_template: "{{ bos_token }}!" });
    expect(await say()).toBe("<s>!");
    await writeFile(join(folder, "chat_template.jinja"), "file{% if add_generation_prompt %}?{% endif %}");
    expect(await say()).toBe("file");
  });

  it.each([
    ["config.json", "has no config.json"],
    ["tokenizer.json", "has no tokenizer.json"],
    ["model.safetensors", "holds no model.safetensors"],
  ])("without %s: says so", async (name, words) => {
    const folder = await temporaryFolder();
    await writeTinyModel(folder, [name]);
    expect(await refusal(folder)).toContain(`${folder} ${words}`);
  });

  it.each([
    ["config.json", "", "config.json is empty"],
    ["config.json", '{"hidden_size": 8,', "config.json is not JSON"],
    ["config.json", "[]", "config.json does not hold a JSON object"],
    ["tokenizer.json", "{}", "tokenizer.json: "],
    ["tokenizer.json", '{"model": {"type": "BPE", "vocab": 3}}', "tokenizer.json: "],
    ["model.safetensors", "", "it is empty"],
    ["model.safetensors", "x".repeat(2000), "model.safetensors is not a valid safetensors file"],
  ])("%s holding %j is refused", async (name, content, words) => {
    const folder = await temporaryFolder();
    await writeTinyModel(folder);
    await writeFile(join(folder, name), content);
    expect(await refusal(folder)).toContain(words);
  });

  it("a missing shard, a shard without its tensor, a shard that is a path: each is named", async () => {
    const folder = await temporaryFolder();
    await writeTinyModel(folder, ["model.safetensors"]);
    await writeShards(folder);
    const index = join(folder, "model.safetensors.index.json");
    const { weight_map } = JSON.parse(await readFile(index, "utf8"));
    await writeJson(index, { weight_map: { ...weight_map, more: "model-00001-of-00002.safetensors" } });
    expect(await refusal(folder)).toContain("model-00001-of-00002.safetensors lacks more");
    await writeJson(index, { weight_map: { ...weight_map, more: "../secret.safetensors" } });
    expect(await refusal(folder)).toContain('"../secret.safetensors"');
    await writeJson(index, { weight_map: {} });
    expect(await refusal(folder)).toContain('no "weight_map"');
    await writeJson(index, { weight_map });
    await unlink(join(folder, "model-00002-of-00002.safetensors"));
    expect(await refusal(folder)).toContain("lacks model-00002-of-00002.safetensors");
  });

  it("what is no model folder says what it is", async () => {
    const folder = await temporaryFolder();
    expect(await refusal(join(folder, "none"))).toContain("There is no model at");
    expect(await refusal("")).toContain("There is no model at");
    await writeFile(join(folder, "file"), "");
    expect(await refusal(join(folder, "file", "inside"))).toContain("ENOTDIR");
    expect(await refusal(join(folder, "file"))).toContain("is a file, not a model");
    await writeJson(join(folder, "pytorch_model.bin"), 0);
    expect(await refusal(folder)).toMatch(
      /pickle[^\n]*\npython -c "[^"\n]*architectures[^"\n]*save_pretrained\(d\)" "[^"\n]*"$/,
    );
    await writeJson(join(folder, "adapter_model.safetensors"), 0);
    expect(await refusal(folder)).toContain("--adapter");
    expect(await refusal(join(folder, "adapter_model.safetensors"))).toContain(`the folder it is in: ${folder}`);
    const ggufs = join(folder, "ggufs");
    await mkdir(ggufs);
    await writeJson(join(ggufs, "a.gguf"), 0);
    await writeJson(join(ggufs, "b.gguf"), 0);
    expect(await refusal(ggufs)).toContain("2 GGUF models");
  });
});

describe("hashes of the base", () => {
  it("the fingerprint is a copy's too, and no other model's", async () => {
    const [folder, copy] = [await temporaryFolder(), await temporaryFolder()];
    await writeTinyModel(folder);
    await cp(folder, copy, { recursive: true });
    const original = fingerprint(await openModel(folder));
    expect(fingerprint(await openModel(copy))).toBe(original);
    // A base tuned a little: same sizes, same header, other weights past the first mebibyte.
    const big = (value: number) =>
      writeSafetensors(join(copy, "model.safetensors"), [
        {
          name: "big",
          shape: [2 ** 20],
          dtype: "F32",
          bytes: () => new Uint8Array(new Float32Array(2 ** 20).fill(1).fill(value, 2 ** 19).buffer),
        },
      ]);
    await big(1);
    const before = fingerprint(await openModel(copy));
    await big(2);
    expect(fingerprint(await openModel(copy))).not.toBe(before);
    await writeJson(join(folder, "config.json"), { ...config, rope_theta: 5 });
    expect(fingerprint(await openModel(folder))).not.toBe(original);
  });

  it("SHA-256 of each file; remembered until size, time or inode change; an unreadable memory is ignored", async () => {
    const [folder, cache] = [await temporaryFolder(), await temporaryFolder()];
    vi.stubEnv("XDG_CACHE_HOME", cache);
    await writeTinyModel(folder, ["model.safetensors"]);
    await writeShards(folder);
    const model = await openModel(folder);
    const truth = async () =>
      Promise.all(
        model.files.map(async (file) =>
          createHash("sha256")
            .update(await readFile(file))
            .digest("hex"),
        ),
      );
    expect(Object.values(await hashWeights(model))).toEqual(await truth());

    const memory = join(cache, "zeroth", "hashes.json");
    const remembered = JSON.parse(await readFile(memory, "utf8"));
    await writeJson(memory, Object.fromEntries(Object.keys(remembered).map((key) => [key, "from memory"])));
    expect(Object.values(await hashWeights(model))).toEqual(["from memory", "from memory"]);

    await utimes(model.files[0] ?? "", 1, 1);
    const [first] = await truth();
    expect(Object.values(await hashWeights(model))).toEqual([first, "from memory"]);

    await writeFile(memory, "{ torn");
    expect(Object.values(await hashWeights(model))).toEqual(await truth());
    await rm(join(cache, "zeroth"), { recursive: true });
    await writeFile(join(cache, "zeroth"), "in the way");
    expect(Object.values(await hashWeights(model))).toEqual(await truth());
    vi.unstubAllEnvs();
  });

  it("stops when told to", async () => {
    const folder = await temporaryFolder();
    vi.stubEnv("XDG_CACHE_HOME", folder);
    await writeTinyModel(folder);
    await expect(hashWeights(await openModel(folder), { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
    expect(existsSync(join(folder, "zeroth"))).toBe(false);
    vi.unstubAllEnvs();
  });
});

describe("writeSafetensors", () => {
  it("the same tensors in any order give the same bytes; data begins at a multiple of 64", async () => {
    const folder = await temporaryFolder();
    const names = Object.keys(shapes);
    await writeSafetensors(join(folder, "a"), names.map(tensorToWrite));
    await writeSafetensors(join(folder, "b"), names.toReversed().map(tensorToWrite));
    const bytes = await readFile(join(folder, "a"));
    expect(bytes.equals(await readFile(join(folder, "b")))).toBe(true);
    expect((Number(bytes.readBigUInt64LE()) + 8) % 64).toBe(0);
  });

  it("a tensor of the wrong size is refused and nothing is left behind", async () => {
    const folder = await temporaryFolder();
    const wrong = { ...tensorToWrite("model.norm.weight"), bytes: () => new Uint8Array(5) };
    await expect(writeSafetensors(join(folder, "x"), [wrong])).rejects.toThrow("model.norm.weight: 5 bytes");
    expect(existsSync(join(folder, "x"))).toBe(false);
  });
});
