import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, readlink, realpath, rm, stat, unlink, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { basename, dirname, join, sep } from "node:path";
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { isHubId } from "../../src/model/hub.js";
import { filesOf } from "../../src/model/hub-files.js";
import { openModel } from "../../src/model/open.js";
import { readTensorSync } from "../../src/model/weights.js";
import { tinyGguf, tinyShards } from "./gguf-file.js";
import { writeExport, writeNative } from "./onnx/export.js";
import { shapes, temporaryFolder, valuesOf, writeShards, writeTinyModel } from "./tiny.js";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const sha1 = (bytes: Buffer): string => createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

const isWeights = (path: string): boolean => /\.(safetensors|gguf|onnx([._]data(_\d+)?)?)$/.test(path);

interface Hub {
  readonly requests: string[];
  files: Map<string, Buffer>;
  /** Answers instead of the file; for broken downloads. */
  breakAfter: number | undefined;
  status: number | undefined;
}

/** A server that answers the hub's three questions: which commit, which files, which bytes. */
const serve = async (): Promise<Hub> => {
  const hub: Hub = { requests: [], files: new Map(), breakAfter: undefined, status: undefined };
  const server: Server = createServer((request, response) => {
    const url = new URL(request.url ?? "", "http://hub");
    hub.requests.push(url.pathname + (request.headers.authorization ?? ""));
    const json = (value: unknown, status = 200): void => {
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
    };
    const [, , , , , kind, revision = ""] = url.pathname.split("/");
    if (hub.status !== undefined) json({ error: "no" }, hub.status);
    else if (kind === "revision" && (revision === "main" || revision === "refs%2Fpr%2F1")) {
      json({ _id: "1", id: "org/tiny", sha: COMMIT });
    } else if (kind === "tree" && revision === COMMIT) {
      json([
        { type: "directory", path: "onnx", size: 0, oid: "0" },
        ...[...hub.files].map(([path, bytes]) => ({
          type: "file",
          path,
          size: bytes.length,
          oid: sha1(bytes),
          ...(isWeights(path) ? { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } } : {}),
        })),
      ]);
    } else {
      const [, path = ""] = url.pathname.split(`/org/tiny/resolve/${COMMIT}/`);
      const bytes = hub.files.get(path);
      if (bytes === undefined) {
        json({ error: "not found" }, 404);
        return;
      }
      const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
      const [start, end] = [Number(from ?? 0), Math.min(Number(to ?? bytes.length - 1) + 1, bytes.length)];
      response.writeHead(from === undefined ? 200 : 206, {
        etag: `"${sha256(bytes)}"`,
        "content-length": end - start,
        ...(from === undefined ? {} : { "content-range": `bytes ${start}-${end - 1}/${bytes.length}` }),
      });
      const body = bytes.subarray(start, end);
      if (hub.breakAfter === undefined || body.length <= hub.breakAfter || !isWeights(path)) response.end(body);
      else response.write(body.subarray(0, hub.breakAfter), () => setTimeout(() => response.destroy(), 20));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  vi.stubEnv("HF_ENDPOINT", `http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  return hub;
};

const load = async (hub: Hub, folder: string, under = ""): Promise<void> => {
  for (const path of await readdir(folder, { recursive: true })) {
    const file = join(folder, path);
    if ((await stat(file)).isFile()) hub.files.set(under + path.replaceAll(sep, "/"), await readFile(file));
  }
};

const tinyHub = async (): Promise<Hub> => {
  const [hub, folder] = [await serve(), await temporaryFolder()];
  await writeTinyModel(folder);
  await load(hub, folder);
  hub.files.set("README.md", Buffer.from("# no model needs it"));
  hub.files.set("pytorch_model.bin", Buffer.from("pickle"));
  return hub;
};

let cache: string;
beforeEach(async () => {
  cache = await temporaryFolder();
  for (const name of ["HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HF_HUB_OFFLINE", "HF_TOKEN"]) {
    vi.stubEnv(name, "");
  }
  vi.stubEnv("HF_HUB_CACHE", cache);
});
afterEach(() => {
  vi.unstubAllEnvs();
});
const snapshot = (): string => join(cache, "models--org--tiny", "snapshots", COMMIT);
const held = async (): Promise<string[]> =>
  (await readdir(snapshot(), { recursive: true })).map((path) => path.replaceAll(sep, "/")).sort();
const fetched = ({ requests }: Hub): Set<string> =>
  new Set(requests.flatMap((request) => request.split(`/resolve/${COMMIT}/`)[1] ?? []));
const refusal = (spec: string): Promise<string> =>
  openModel(spec).then(
    () => "",
    (error: Error) => error.message,
  );

describe("hub ids", () => {
  it("org/name and org/name@revision are, and with a file of it; paths are not", () => {
    expect(
      [
        ...["org/tiny", "org/tiny@main", "Org-1/Tiny.v2@refs/pr/1", `a/b@${COMMIT}`],
        ...["org/tiny:tiny.Q4_K_M.gguf", "org/tiny@main:onnx/model_q4.onnx"],
      ].filter((id) => !isHubId(id)),
    ).toEqual([]);
    const paths = [
      "tiny",
      "./tiny",
      "../tiny",
      "/org/tiny",
      "a/b/c",
      "org/",
      "org/tiny@",
      "org/tiny@../../etc",
      "org/tiny:",
      "org/tiny:model.bin",
      "org/tiny:../model.onnx",
      "org/tiny:onnx/../model.onnx",
      "org/tiny:/model.onnx",
      "org/tiny:model.onnx@main",
      "C:/org/model.gguf",
      "C:\\model.gguf",
      "~/tiny",
    ];
    expect(paths.filter(isHubId)).toEqual([]);
  });
});

describe("a model on the hub", () => {
  it("lands in the standard cache, links into blobs, and opens with real paths", async () => {
    const hub = await tinyHub();
    const told: number[] = [];
    const model = await openModel("org/tiny", {
      onProgress: ({ file, done, total }) => {
        if (file === "model.safetensors") told.push(done, total ?? -1);
      },
    });
    expect(model.origin).toEqual({ spec: "org/tiny", kind: "hub", path: snapshot() });
    expect((await readdir(snapshot())).sort()).toEqual([
      "config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    const size = hub.files.get("model.safetensors")?.length;
    expect(told.slice(-2)).toEqual([size, size]);
    const blob = sha256(hub.files.get("model.safetensors") ?? Buffer.alloc(0));
    expect(await readlink(join(snapshot(), "model.safetensors"))).toBe(join("..", "..", "blobs", blob));
    expect(model.files).toEqual([await realpath(join(cache, "models--org--tiny", "blobs", blob))]);
    expect(await readFile(join(cache, "models--org--tiny", "refs", "main"), "utf8")).toBe(COMMIT);
    for (const [name, source] of model.weights) expect(readTensorSync(source)).toEqual(valuesOf(name));
    expect(hub.requests.some((path) => path.includes("README") || path.includes("pytorch"))).toBe(false);
  });

  it("is used from the cache without any request, by branch and by commit", async () => {
    const hub = await tinyHub();
    await openModel("org/tiny");
    hub.requests.length = 0;
    await openModel("org/tiny");
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    expect((await openModel(`org/tiny@${COMMIT}`)).weights.size).toBe(Object.keys(shapes).length);
    expect(hub.requests).toEqual([]);
  });

  it("sharded: all shards are fetched; one that is gone is fetched again, the others are not", async () => {
    const [hub, folder] = [await serve(), await temporaryFolder()];
    await writeTinyModel(folder, ["model.safetensors"]);
    await writeShards(folder);
    await load(hub, folder);
    expect((await openModel("org/tiny")).files).toHaveLength(2);
    await unlink(await realpath(join(snapshot(), "model-00002-of-00002.safetensors")));
    hub.requests.length = 0;
    expect((await openModel("org/tiny")).weights.size).toBe(Object.keys(shapes).length);
    const fetched = hub.requests.filter((path) => path.includes("/resolve/")).map((path) => basename(path));
    expect(new Set(fetched)).toEqual(new Set(["model-00002-of-00002.safetensors"]));
  });

  it("a revision with slashes has its own reference; a token goes with every request", async () => {
    const hub = await tinyHub();
    vi.stubEnv("HF_TOKEN", "hf_secret");
    await openModel("org/tiny@refs/pr/1");
    expect(await readFile(join(cache, "models--org--tiny", "refs", "refs", "pr", "1"), "utf8")).toBe(COMMIT);
    expect(hub.requests.length).toBeGreaterThan(4);
    expect(hub.requests.filter((request) => !request.endsWith("Bearer hf_secret"))).toEqual([]);
  });

  it("a broken download is an error, and the next try goes on from where it ended", async () => {
    const hub = await tinyHub();
    hub.breakAfter = 500;
    await expect(openModel("org/tiny")).rejects.toThrow(/org\/tiny[\s\S]*could not be fetched/);
    hub.breakAfter = undefined;
    const [partial = ""] = (await readdir(join(cache, "models--org--tiny", "blobs"))).filter((name) =>
      name.endsWith(".incomplete"),
    );
    expect((await stat(join(cache, "models--org--tiny", "blobs", partial))).size).toBe(500);
    const steps: number[] = [];
    const model = await openModel("org/tiny", {
      onProgress: ({ file, done }) => {
        if (file === "model.safetensors") steps.push(done);
      },
    });
    expect(steps[0]).toBeGreaterThan(500);
    expect(readTensorSync(model.weights.get("model.norm.weight")!)).toEqual(valuesOf("model.norm.weight"));
  });

  it("bytes that are not those announced are thrown away", async () => {
    const hub = await tinyHub();
    const blobs = join(cache, "models--org--tiny", "blobs");
    await mkdir(blobs, { recursive: true });
    const blob = sha256(hub.files.get("model.safetensors") ?? Buffer.alloc(0));
    await writeFile(join(blobs, `${blob}.incomplete`), "of another file");
    await expect(openModel("org/tiny")).rejects.toThrow("model.safetensors arrived damaged");
    await openModel("org/tiny");
  });

  it.each([
    [401, "private or gated"],
    [403, "accept its terms"],
    [404, "no such model or revision"],
    [500, "the answer was 500"],
  ])("an answer of %i says what to do, in four lines at most", async (status, words) => {
    const hub = await serve();
    hub.status = status;
    const message = await openModel("org/tiny").then(
      () => "",
      (error: Error) => error.message,
    );
    expect(message).toContain(words);
    expect(message).toContain("org/tiny");
    expect(message.split("\n").length).toBeLessThanOrEqual(4);
  });

  it("no network: says so soon; HF_HUB_OFFLINE: does not try", async () => {
    const hub = await serve();
    vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:9");
    await expect(openModel("org/tiny")).rejects.toThrow(/fetch failed|ECONNREFUSED/);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    await expect(openModel("org/tiny")).rejects.toThrow("HF_HUB_OFFLINE");
    expect(hub.requests).toEqual([]);
  });

  it("a repository that is no model says so", async () => {
    const hub = await serve();
    await expect(openModel("org/tiny")).rejects.toThrow("no config.json");
    hub.files.set("config.json", Buffer.from("{}"));
    await expect(openModel("org/tiny")).rejects.toThrow("no model.safetensors");
  });

  it.each([
    [{ HF_HOME: "home" }, ["home", "hub"]],
    [{ XDG_CACHE_HOME: "xdg" }, ["xdg", "huggingface", "hub"]],
    [{ HUGGINGFACE_HUB_CACHE: "old", HF_HOME: "home" }, ["old"]],
  ])("the cache is where %j has it", async (variables, place) => {
    await tinyHub();
    vi.stubEnv("HF_HUB_CACHE", "");
    for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, join(cache, value));
    const { origin } = await openModel("org/tiny");
    expect(origin.path).toBe(join(cache, ...place, "models--org--tiny", "snapshots", COMMIT));
  });

  it("a cache that cannot be written is an error with a fix", async () => {
    await tinyHub();
    await rm(cache, { recursive: true });
    await writeFile(cache, "a file where the cache should be");
    await expect(openModel("org/tiny")).rejects.toThrow(`${cache} cannot be written`);
  });
});

/** A hub whose repository holds what exporters to ONNX write, weights beside the graph. */
const onnxHub = async (graphs: readonly string[] = ["onnx/model.onnx"], under = ""): Promise<Hub> => {
  const [hub, folder] = [await serve(), await temporaryFolder()];
  const options = under === "" ? { layers: 1, external: true } : { layers: 1, external: true, style: "genai" as const };
  for (const graph of graphs) await writeExport(folder, options, graph);
  await load(hub, folder, under);
  return hub;
};
const SETTINGS = ["config.json", "tokenizer.json", "tokenizer_config.json"];

describe("a graph on the hub", () => {
  it("is opened where there are no safetensors, with its external data and nothing else", async () => {
    const hub = await onnxHub();
    for (const other of ["model_q4.onnx", "model_q4.onnx_data", "decoder_model_merged.onnx", "model.onnx_data_x"])
      hub.files.set(`onnx/${other}`, Buffer.from("not wanted"));
    hub.files.set("onnx/model.onnx_data_1", Buffer.from("more of it"));
    const path = join(snapshot(), "onnx", "model.onnx");
    const model = await openModel("org/tiny");
    expect(model.origin).toEqual({ spec: "org/tiny", kind: "onnx", path });
    expect(model.imported?.layers).toBe(1);
    const files = [...SETTINGS, "onnx/model.onnx", "onnx/model.onnx_data", "onnx/model.onnx_data_1"];
    expect(await held()).toEqual([...files, "onnx"].sort());
    expect([...fetched(hub)].sort()).toEqual(files.sort());
    const blob = (name: string) => sha256(hub.files.get(name) ?? Buffer.alloc(0));
    expect(await readlink(path)).toBe(join("..", "..", "..", "blobs", blob("onnx/model.onnx")));
    expect(model.files.map((file) => basename(file))).toEqual(
      ["onnx/model.onnx", "onnx/model.onnx_data"].map((name) => blob(name)),
    );
  });

  it("is used from the cache without any request, and without the network", async () => {
    const hub = await onnxHub();
    await openModel("org/tiny");
    hub.requests.length = 0;
    await openModel("org/tiny");
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    for (const id of ["org/tiny", `org/tiny@${COMMIT}`, "org/tiny:onnx/model.onnx"])
      expect((await openModel(id)).origin.kind).toBe("onnx");
    await expect(openModel("org/tiny:onnx/model_q4.onnx")).rejects.toThrow("HF_HUB_OFFLINE");
    // As another program would leave it.
    await rm(join(cache, "models--org--tiny", ".listings"), { recursive: true });
    expect((await openModel("org/tiny")).origin.kind).toBe("onnx");
    expect(hub.requests).toEqual([]);
    await unlink(await realpath(join(snapshot(), "onnx", "model.onnx")));
    await expect(openModel("org/tiny")).rejects.toThrow("HF_HUB_OFFLINE");
  });

  it("a cache that does not know what else there was asks for that alone", async () => {
    const hub = await onnxHub();
    await openModel("org/tiny");
    await writeFile(join(cache, "models--org--tiny", ".listings", `${COMMIT}.json`), "{");
    hub.requests.length = 0;
    await openModel("org/tiny");
    expect(hub.requests).toHaveLength(2);
    expect(fetched(hub)).toEqual(new Set());
  });

  it("an interrupted download goes on, and what is gone is fetched again", async () => {
    const hub = await onnxHub();
    hub.breakAfter = 500;
    await expect(openModel("org/tiny")).rejects.toThrow("could not be fetched");
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    await expect(openModel("org/tiny")).rejects.toThrow("does not hold the whole model");
    vi.stubEnv("HF_HUB_OFFLINE", "");
    hub.breakAfter = undefined;
    const steps: number[] = [];
    const onProgress = ({ file, done }: { file: string; done: number }): void => {
      if (file === "onnx/model.onnx_data") steps.push(done);
    };
    await openModel("org/tiny", { onProgress });
    expect(steps[0]).toBeGreaterThan(500);
    await unlink(await realpath(join(snapshot(), "onnx", "model.onnx_data")));
    hub.requests.length = 0;
    await openModel("org/tiny");
    expect(fetched(hub)).toEqual(new Set(["onnx/model.onnx_data"]));
  });

  it("of several, none of them plain, one is to be named; the list says how", async () => {
    const hub = await onnxHub(["onnx/model_fp16.onnx"]);
    hub.files.set("onnx/model_q4.onnx", Buffer.from("x"));
    hub.files.set("onnx/vision_encoder.onnx", Buffer.from("x"));
    const message = await refusal("org/tiny@main");
    expect(message).toContain("org/tiny holds 2 ONNX graphs");
    expect(message).toContain(
      "such as org/tiny@main:onnx/model_fp16.onnx\nof onnx/model_fp16.onnx, onnx/model_q4.onnx.",
    );
    expect(await refusal("org/tiny:onnx/model_q8.onnx")).toMatch(
      /no onnx\/model_q8\.onnx on the hub\.\nIt holds onnx\/model_fp16\.onnx, .*vision_encoder/,
    );
    expect(fetched(hub)).toEqual(new Set());
  });

  it("can be named beside others and beside safetensors, which are still what the bare id means", async () => {
    const [hub, folder] = [await serve(), await temporaryFolder()];
    writeNative(folder, 1);
    await writeExport(folder, { layers: 1, linear: "q4" }, "onnx/model_q4.onnx");
    await load(hub, folder);
    const spec = "org/tiny@main:onnx/model_q4.onnx";
    const model = await openModel(spec);
    expect(model.origin).toEqual({ spec, kind: "onnx", path: join(snapshot(), "onnx", "model_q4.onnx") });
    expect(await held()).toEqual([...SETTINGS, "onnx", "onnx/model_q4.onnx"].sort());
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    await expect(openModel("org/tiny")).rejects.toThrow("does not hold the whole model");
    vi.stubEnv("HF_HUB_OFFLINE", "");
    expect((await openModel("org/tiny")).origin.kind).toBe("hub");
    hub.requests.length = 0;
    expect((await openModel(spec)).origin.kind).toBe("onnx");
    expect(hub.requests).toEqual([]);
  });

  it("of ONNX Runtime GenAI is the one its configuration names, in a folder below too", async () => {
    const hub = await onnxHub(["model.onnx"], "cpu/int4/");
    const { origin, imported } = await openModel("org/tiny");
    expect(origin.path).toBe(join(snapshot(), "cpu", "int4", "model.onnx"));
    expect(imported?.layers).toBe(1);
    expect([...fetched(hub)].filter((path) => !path.startsWith("cpu/int4/"))).toEqual([]);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    expect((await openModel("org/tiny")).origin.path).toBe(origin.path);
    vi.stubEnv("HF_HUB_OFFLINE", "");
    for (const name of ["genai_config.json", "model.onnx"]) hub.files.set(`cuda/${name}`, Buffer.from("{}"));
    await rm(cache, { recursive: true });
    expect(await refusal("org/tiny")).toContain("of cpu/int4/model.onnx, cuda/model.onnx.");
    hub.files.set("genai_config.json", Buffer.from('{"model":{"decoder":{"filename":"../model.onnx"}}}'));
    expect(await refusal("org/tiny")).toContain('org/tiny:genai_config.json names "../model.onnx"');
  });

  it("without its configuration or tokenizer is refused before it is fetched", async () => {
    const hub = await onnxHub();
    hub.files.delete("tokenizer.json");
    expect(await refusal("org/tiny")).toContain("org/tiny:onnx/model.onnx has no tokenizer.json beside it");
    hub.files.delete("config.json");
    expect(await refusal("org/tiny")).toContain("no config.json or genai_config.json");
    expect(fetched(hub)).toEqual(new Set());
  });

  it("files that are listed outside of the repository are none of it", async () => {
    const hub = await onnxHub();
    hub.files.delete("onnx/model.onnx");
    for (const path of ["../model.onnx", "onnx/../../model.onnx", "/model.onnx", "..\\model.onnx", "C:\\model.onnx"])
      hub.files.set(path, Buffer.from("x"));
    expect(await refusal("org/tiny")).toContain("no model.safetensors");
    expect(fetched(hub)).toEqual(new Set());
    expect(await readdir(dirname(snapshot())).catch(() => [])).toEqual([]);
  });

  it("keeps weights in files of its name, whichever way they are spelled", () => {
    const paths = ["a.onnx", "a.onnx.data", "a.onnx_data", "a.onnx_data_12", "a.onnx_data.bak", "ab.onnx.data"];
    const contents = { name: "", readJson: async () => ({}), spell: String };
    const files = filesOf({ ...contents, paths: [...paths, "genai_config.json", "tokenizer.json"] }, "a.onnx");
    expect(files).toEqual([
      ...["genai_config.json", "tokenizer.json", "a.onnx.data", "a.onnx_data", "a.onnx_data_12", "a.onnx"],
    ]);
  });
});

describe("a GGUF file on the hub", () => {
  it("is opened by itself where it is the only one, and from the cache", async () => {
    const hub = await serve();
    hub.files.set("tiny-f32.gguf", tinyGguf());
    hub.files.set("config.json", Buffer.from("{}"));
    const { origin, weights } = await openModel("org/tiny");
    expect(origin).toEqual({ spec: "org/tiny", kind: "gguf", path: join(snapshot(), "tiny-f32.gguf") });
    expect(weights.size).toBe(Object.keys(shapes).length);
    expect(await held()).toEqual(["tiny-f32.gguf"]);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    expect((await openModel("org/tiny")).origin).toEqual(origin);
  });

  it("of several is named, and fetched alone", async () => {
    const hub = await serve();
    for (const name of ["tiny.Q4_0.gguf", "f32/tiny.gguf"]) hub.files.set(name, tinyGguf());
    expect(await refusal("org/tiny")).toMatch(
      /2 GGUF models[^\n]*org\/tiny:f32\/tiny\.gguf\nof [^\n]*tiny\.Q4_0\.gguf/,
    );
    const { origin } = await openModel("org/tiny:f32/tiny.gguf");
    expect(origin.path).toBe(join(snapshot(), "f32", "tiny.gguf"));
    expect(await held()).toEqual(["f32", "f32/tiny.gguf"]);
    await expect(openModel("org/tiny")).rejects.toThrow("2 GGUF models");
  });

  it("of one that is split over several files all are fetched, whichever is named", async () => {
    const hub = await serve();
    for (const [name, bytes] of tinyShards()) hub.files.set(`f32/${name}`, bytes);
    const names = [...hub.files.keys()];
    const { weights } = await openModel(`org/tiny:${names[1]}`);
    expect(weights.size).toBe(Object.keys(shapes).length);
    expect(await held()).toEqual(["f32", ...names]);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    expect((await openModel("org/tiny")).origin.path).toBe(join(snapshot(), names[0] ?? ""));
  });

  it("one whose other files are not there is refused before anything is fetched", async () => {
    const hub = await serve();
    const [, [second = "", bytes = Buffer.alloc(0)] = []] = [...tinyShards()];
    hub.files.set(second, bytes);
    expect(await refusal("org/tiny")).toMatch(/has no tiny-00001-of-00003\.gguf on the hub/);
    expect(fetched(hub)).toEqual(new Set());
  });

  it("a file of this machine that is called so goes before it", async () => {
    const [hub, folder] = [await serve(), await temporaryFolder()];
    await mkdir(join(folder, "org"));
    await writeFile(join(folder, "org", "tiny:tiny.gguf"), tinyGguf());
    const before = process.cwd();
    onTestFinished(() => process.chdir(before));
    process.chdir(folder);
    expect((await openModel("org/tiny:tiny.gguf")).origin.path).toBe("org/tiny:tiny.gguf");
    expect(hub.requests).toEqual([]);
  });
});
