import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { evaluate } from "../../src/api/evaluate.js";
import { load } from "../../src/api/load.js";
import { writers } from "../../src/model/encodings.js";
import { bindFamily } from "../../src/model/families/index.js";
import { type OpenModel, openModel } from "../../src/model/open.js";
import { readTensorSync } from "../../src/model/weights.js";

/* The tool as it is used: a process that writes a model, which the library then opens. */

const script = fileURLToPath(new URL("../../tools/random-model.mjs", import.meta.url));
const place = mkdtempSync(join(tmpdir(), "zeroth-random-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));
const fresh = (): string => mkdtempSync(join(place, "test-"));

/** Runs the tool; it is interrupted as soon as `when` says so. */
const run = async (args: readonly string[], when?: () => boolean) => {
  const child = spawn(process.execPath, [script, ...args]);
  const texts = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      texts[name] += text;
    });
  }
  const watch = setInterval(() => {
    if (when?.() !== true) return;
    clearInterval(watch);
    child.kill("SIGINT");
  }, 5);
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  clearInterval(watch);
  return { code, ...texts };
};

const written = async (out: string, ...args: readonly string[]): Promise<string> => {
  const { code, stderr } = await run(["tiny", out, ...args]);
  expect(code, stderr).toBe(0);
  return out;
};

const VOCABULARY = 320;
const layouts = { hub: "tiny", gguf: "tiny.gguf" };
const kinds = Object.entries(layouts);
/** Where both layouts of the tiny model lie, from the default seed. */
const shared = fresh();
beforeAll(async () => {
  await Promise.all(Object.values(layouts).map((name) => written(join(shared, name))));
});

const valuesOf = ({ weights }: OpenModel, name: string): Float32Array => {
  const source = weights.get(name);
  if (source === undefined) throw new Error(`no ${name}`);
  return readTensorSync(source);
};
const filesUnder = (path: string): Record<string, string> =>
  statSync(path).isFile()
    ? { "": readFileSync(path, "base64") }
    : Object.fromEntries(readdirSync(path).map((name) => [name, readFileSync(join(path, name), "base64")]));

describe.each(kinds)("a random model as %s", (_, name) => {
  const path = join(shared, name);

  it("opens with every tensor in its shape, norms of ones and values of the usual scale", async () => {
    const model = await openModel(path);
    const { parameters } = bindFamily(model);
    expect([...model.weights.keys()].sort()).toEqual(parameters.map((parameter) => parameter.name).sort());
    for (const { name, shape, linear } of parameters) {
      const values = valuesOf(model, name);
      if (name.includes("norm")) {
        expect(values.every((value) => value === 1)).toBe(true);
        continue;
      }
      // Two layers add to the residual stream twice each; the embedding and the head are at half the scale.
      const scale = linear !== true ? 1 / 2 : /o_proj|down_proj/.test(name) ? 1 / 2 : 1;
      const rms = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
      expect(rms * Math.sqrt(shape[1] ?? 0), name).toBeCloseTo(scale, 1);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      expect(Math.abs(mean), name).toBeLessThan(0.1 * rms);
    }
  });

  it("has a token for each byte of a text, and a name for each row of the embedding", async () => {
    const { tokenizer } = await openModel(path);
    const text = "it's a charming\tfilm — déjà vu, <s> 100%.\n";
    const ids = tokenizer.encode(text.replace("<s>", ""), { special: true });
    expect(ids).toHaveLength(Buffer.byteLength(text.replace("<s>", "")));
    expect(tokenizer.decode(ids)).toBe(text.replace("<s>", ""));
    expect(tokenizer.encode("a<s></s>")).toEqual([...tokenizer.encode("a"), 0, 1]);
    const names = Array.from({ length: VOCABULARY }, (_, id) => tokenizer.token(id));
    expect(new Set(names).size).toBe(VOCABULARY);
    expect(names.at(-1)).toBe("<unused61>");
  });

  it("gives a row of SST-2 a loss near that of a uniform guess", async () => {
    const data = join(fresh(), "validation.jsonl");
    const sentences = ["it 's a charming and often affecting journey . ", "unflinchingly bleak and desperate "];
    const row = (sentence: string) =>
      JSON.stringify({ prompt: sentence, completion: "It was neither great nor awful." });
    writeFileSync(data, sentences.map(row).join("\n"));
    const { value, total } = await evaluate(await load(path), { data, format: "completion", threads: 1 });
    expect(total).toBe(2);
    expect(Math.abs(value - Math.log(VOCABULARY))).toBeLessThan(0.5);
  });

  it("has the same bytes for the same seed, and others for another", async () => {
    const folder = fresh();
    const again = filesUnder(await written(join(folder, `again-${name}`), "--seed", "0"));
    const other = filesUnder(await written(join(folder, `other-${name}`), "--seed", "18446744073709551615"));
    expect(again).toEqual(filesUnder(path));
    const weights = name === "tiny" ? "model.safetensors" : "";
    expect(other[weights]).not.toBe(again[weights]);
    expect({ ...other, [weights]: undefined }).toEqual({ ...again, [weights]: undefined });
    expect(readdirSync(folder).sort()).toEqual([`again-${name}`, `other-${name}`]);
  });
});

it("describes both layouts by the same configuration", async () => {
  const [hub, gguf] = await Promise.all(Object.values(layouts).map((name) => openModel(join(shared, name))));
  const { dtype, rms_norm_eps, ...config } = hub?.config ?? {};
  expect(dtype).toBe("float32");
  expect(gguf?.config).toEqual({ ...config, rms_norm_eps: Math.fround(Number(rms_norm_eps)) });
});

it.each(["bfloat16", "float16"] as const)("writes %s as the rounded fp32 values", async (dtype) => {
  const single = await openModel(join(shared, layouts.hub));
  const narrow = await openModel(await written(join(fresh(), "narrow"), "--dtype", dtype));
  const encoding = dtype === "bfloat16" ? "BF16" : "F16";
  expect(narrow.config.dtype).toBe(dtype);
  for (const [name, source] of narrow.weights) {
    expect(source.encoding).toBe(encoding);
    const rounded = writers[encoding](readTensorSync(source));
    expect(Buffer.from(rounded).equals(writers[encoding](valuesOf(single, name))), name).toBe(true);
  }
});

it("cuts the weights into files of at most a given size, with an index, and changes no value", async () => {
  const out = await written(join(fresh(), "shards"), "--shard-size", "150000");
  const shards = readdirSync(out).filter((name) => name.endsWith(".safetensors"));
  expect(shards).toEqual([1, 2, 3, 4].map((i) => `model-0000${i}-of-00004.safetensors`));
  const whole = await openModel(join(shared, layouts.hub));
  const cut = await openModel(out);
  for (const shard of shards) {
    const inside = [...cut.weights.values()].filter(({ file }) => file.endsWith(shard));
    expect(inside.reduce((sum, { length }) => sum + length, 0)).toBeLessThanOrEqual(150_000);
  }
  expect([...cut.weights.keys()].sort()).toEqual([...whole.weights.keys()].sort());
  for (const name of whole.weights.keys()) expect(valuesOf(cut, name)).toEqual(valuesOf(whole, name));
});

it("lists the shapes by the parameters that the published models have", async () => {
  const { code, stdout } = await run(["--help"]);
  expect(code).toBe(0);
  const published = {
    "135m": "134,515,008",
    "360m": "361,821,120",
    "1.1b": "1,100,048,384",
    "3b": "3,212,749,824",
    "7b": "6,738,415,616",
  };
  for (const [size, parameters] of Object.entries(published)) {
    expect(stdout).toMatch(new RegExp(`^ +${size} +${parameters} parameters`, "m"));
  }
});

describe("refuses, and writes nothing for,", () => {
  it.each([
    ["an unknown size", ["2b", "out"], 'Unknown size "2b". Known: tiny, 135m'],
    ["an unknown dtype", ["tiny", "out", "--dtype", "int8"], 'Unknown dtype "int8"'],
    ["a dtype for a GGUF", ["tiny", "out.gguf", "--dtype", "float16"], "A GGUF is one file in Q4_0"],
    ["a GGUF that could not be opened by its name", ["tiny", "out", "--format", "gguf"], ".gguf: out.gguf"],
    ["a seed that is no integer", ["tiny", "out", "--seed", "1.5"], "--seed 1.5 is not an integer"],
    ["no place", ["tiny"], "Give SIZE and OUT."],
  ])("%s", async (_, [size = "", out, ...more], message) => {
    const folder = fresh();
    const { code, stderr } = await run([size, ...(out === undefined ? [] : [join(folder, out)]), ...more]);
    expect(stderr.replaceAll(`${folder}/`, "")).toContain(message);
    expect(code).toBe(2);
    expect(readdirSync(folder)).toEqual([]);
  });

  it.each(kinds)("a place that is taken (%s)", async (format, name) => {
    const folder = fresh();
    writeFileSync(join(folder, name), "mine");
    const { code, stderr } = await run(["tiny", join(folder, name), "--format", format]);
    expect(stderr).toContain("exists already");
    expect(code).toBe(2);
    expect(readdirSync(folder)).toEqual([name]);
    expect(readFileSync(join(folder, name), "utf8")).toBe("mine");
  });

  it.each(kinds)("a folder that is not there (%s)", async (_, name) => {
    const folder = fresh();
    const { code, stderr } = await run(["tiny", join(folder, "missing", name)]);
    expect(stderr).toContain("Check that the folder exists");
    expect(code).toBe(1);
    expect(readdirSync(folder)).toEqual([]);
  });
});

// A signal ends a process on Windows before it can tidy up.
describe.skipIf(process.platform === "win32")("interrupted while it writes, it leaves nothing behind", () => {
  it.each(kinds)("(%s)", async (format, name) => {
    const folder = fresh();
    const underWay = (): boolean =>
      readdirSync(folder, { recursive: true, encoding: "utf8" }).some(
        (file) => statSync(join(folder, file)).size > 1e6,
      );
    // Gigabytes: far more than is written before the signal arrives.
    const { code, stderr } = await run(["3b", join(folder, name), "--format", format], underWay);
    expect(stderr).toContain("Interrupted");
    expect(code).toBe(130);
    expect(readdirSync(folder)).toEqual([]);
  });
});
