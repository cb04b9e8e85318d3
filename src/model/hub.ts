import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { downloadFileToCacheDir, listFiles } from "@huggingface/hub";
import { messageOf, ZerothError } from "../errors.js";

/** What is told of a download. */
export type Progress = (progress: { file: string; done: number; total: number | undefined }) => void;

/** `org/name` or `org/name@revision`. */
const HUB_ID = /^([\w.-]+\/[\w.-]+?)(?:@([\w./-]+))?$/;

export const isHubId = (spec: string): boolean => HUB_ID.test(spec);

/** Files of a repository that a model needs. */
const wanted = (path: string): boolean =>
  !path.includes("/") &&
  (/^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json$/.test(path) ||
    path === "chat_template.jinja" ||
    /\.safetensors(\.index\.json)?$/.test(path));

/** The standard Hugging Face cache, as Python's library places it. */
export const hubCache = (): string => {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME } = process.env;
  const home = HF_HOME ?? join(XDG_CACHE_HOME ?? join(homedir(), ".cache"), "huggingface");
  return HF_HUB_CACHE ?? HUGGINGFACE_HUB_CACHE ?? join(home, "hub");
};

/** The snapshot in the cache that a revision names, if it is there. */
const cachedSnapshot = (cache: string, name: string, revision: string): string | undefined => {
  const repository = join(cache, `models--${name.replace("/", "--")}`);
  const reference = join(repository, "refs", revision);
  const commit = existsSync(reference) ? readFileSync(reference, "utf8").trim() : revision;
  const snapshot = join(repository, "snapshots", commit);
  return existsSync(snapshot) ? snapshot : undefined;
};

/** Whether a snapshot has what a model needs: an interrupted download may lack the weights. */
const isWhole = (snapshot: string): boolean => {
  const names = readdirSync(snapshot).filter((name) => existsSync(join(snapshot, name)));
  if (!names.includes("config.json") || !names.includes("tokenizer.json")) return false;
  if (names.includes("model.safetensors")) return true;
  if (!names.includes("model.safetensors.index.json")) return false;
  const index = readFileSync(join(snapshot, "model.safetensors.index.json"), "utf8");
  return [...index.matchAll(/"([\w.-]+\.safetensors)"/g)].every(([, shard]) => names.includes(shard ?? ""));
};

const failure = (spec: string, endpoint: string, error: unknown): ZerothError => {
  const status =
    typeof error === "object" && error !== null && "statusCode" in error ? Number(error.statusCode) : undefined;
  const advice: Readonly<Record<number, string>> = {
    401: "It may be private or gated: set HF_TOKEN to a token that may read it.",
    403: "It is gated: accept its terms on its page and set HF_TOKEN.",
    404: "There is no such model or revision: check the spelling, or set HF_TOKEN if it is private.",
  };
  const hint = status === undefined ? undefined : advice[status];
  return new ZerothError(
    `${spec} could not be fetched from ${endpoint}: ${status ?? messageOf(error).slice(0, 120)}.\n${
      hint ?? "Check the connection (HF_ENDPOINT, proxies), or give a folder or .gguf file that is on this machine."
    }`,
    { cause: error },
  );
};

/** Reports bytes as they arrive. */
const counted =
  (file: string, total: number | undefined, onProgress: Progress): typeof fetch =>
  async (...request) => {
    const response = await fetch(...request);
    if (response.body === null) return response;
    let done = 0;
    const counter = new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        done += chunk.length;
        onProgress({ file, done, total });
        controller.enqueue(chunk);
      },
    });
    const { status, statusText, headers } = response;
    return new Response(response.body.pipeThrough(counter), { status, statusText, headers });
  };

/**
 * The folder of a hub model in the cache; what is missing is downloaded once. A whole snapshot in the cache is used without
 * the network. `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` and the cache's variables count.
 *
 * @throws ZerothError when it cannot be fetched
 */
export const fetchFromHub = async (spec: string, onProgress: Progress = () => {}): Promise<string> => {
  const [, name = "", revision = "main"] = HUB_ID.exec(spec) ?? [];
  const cache = hubCache();
  const cached = cachedSnapshot(cache, name, revision);
  if (cached !== undefined && isWhole(cached)) return cached;
  const { HF_ENDPOINT: hubUrl = "https://huggingface.co", HF_TOKEN, HF_HUB_OFFLINE } = process.env;
  if (HF_HUB_OFFLINE === "1") {
    throw new ZerothError(`${spec} is not whole in the cache ${cache}, and HF_HUB_OFFLINE=1 forbids to fetch it.`);
  }
  const repo = { type: "model", name } as const;
  const access = { hubUrl, ...(HF_TOKEN === undefined ? {} : { accessToken: HF_TOKEN }) };
  try {
    const files: { path: string; size: number }[] = [];
    for await (const { path, type, size } of listFiles({ repo, revision, ...access })) {
      if (type === "file" && wanted(path)) files.push({ path, size });
    }
    if (!files.some(({ path }) => path === "config.json")) {
      throw new ZerothError(`${spec} has no config.json: it is not a model in Hugging Face's layout.`);
    }
    let folder = "";
    for (const { path, size } of files) {
      const local = await downloadFileToCacheDir({
        repo,
        path,
        revision,
        cacheDir: cache,
        fetch: counted(path, size, onProgress),
        ...access,
      });
      folder = dirname(local);
    }
    return folder;
  } catch (error) {
    if (error instanceof ZerothError) throw error;
    throw failure(spec, hubUrl, error);
  }
};
