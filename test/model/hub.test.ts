import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, readlink, realpath, rm, stat, unlink, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { isHubId } from "../../src/model/hub.js";
import { openModel } from "../../src/model/open.js";
import { readTensorSync } from "../../src/model/weights.js";
import { shapes, temporaryFolder, valuesOf, writeShards, writeTinyModel } from "./tiny.js";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const sha1 = (bytes: Buffer): string => createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

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
          ...(path.endsWith(".safetensors")
            ? { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } }
            : {}),
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
      if (hub.breakAfter === undefined || body.length <= hub.breakAfter || !path.endsWith(".safetensors"))
        response.end(body);
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

const load = async (hub: Hub, folder: string): Promise<void> => {
  for (const name of await readdir(folder)) hub.files.set(name, await readFile(join(folder, name)));
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

describe("hub ids", () => {
  it("org/name and org/name@revision are; paths are not", () => {
    expect(
      ["org/tiny", "org/tiny@main", "Org-1/Tiny.v2@refs/pr/1", `a/b@${COMMIT}`].filter((id) => !isHubId(id)),
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

  it("a repository of GGUF files, and one that is no model, say so", async () => {
    const hub = await serve();
    hub.files.set("tiny-q4.gguf", Buffer.from("x"));
    await expect(openModel("org/tiny")).rejects.toThrow(/GGUF files[\s\S]*tiny-q4.gguf/);
    hub.files.delete("tiny-q4.gguf");
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
