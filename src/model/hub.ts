import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { copyFile, mkdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, relative } from "node:path";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { downloadFile, HUB_URL, type ListFileEntry, listFiles, modelInfo } from "@huggingface/hub";
import { writeError } from "../atomic.js";
import { messageOf, ZerothError } from "../errors.js";
import { oneLine } from "../one-line.js";

/** What is told of a download: bytes of a file so far, and in all. */
export type Progress = (progress: { file: string; done: number; total: number | undefined }) => void;

/** `org/name` or `org/name@revision`: parts that begin with a letter or digit, so that no path is one. */
const HUB_ID = /^(\w[\w.-]*\/\w[\w.-]*)(?:@(\w[\w.-]*(?:\/\w[\w.-]*)*))?$/;

export const isHubId = (spec: string): boolean => HUB_ID.test(spec);

/** Files of a repository that a model needs. */
const NEEDED =
  /^((config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json|chat_template\.jinja|model(-\d+-of-\d+)?\.safetensors(\.index\.json)?)$/;
const isWeights = (path: string): boolean => path.endsWith(".safetensors");

/** Empty variables count as unset, as in Python's library. */
const variable = (...names: readonly string[]): string | undefined =>
  names.map((name) => process.env[name]).find((value) => value !== undefined && value !== "");

/** The standard Hugging Face cache, where Python's library has it. */
const hubCache = (): string => {
  const caches = variable("XDG_CACHE_HOME") ?? join(homedir(), ".cache");
  return (
    variable("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") ?? join(variable("HF_HOME") ?? join(caches, "huggingface"), "hub")
  );
};

/** The cache's places of a repository. */
interface Repository {
  readonly name: string;
  readonly blob: (etag: string) => string;
  readonly reference: (revision: string) => string;
  readonly snapshot: (commit: string) => string;
}

const repositoryOf = (name: string): Repository => {
  const folder = join(hubCache(), `models--${name.replace("/", "--")}`);
  return {
    name,
    blob: (etag) => join(folder, "blobs", etag),
    reference: (revision) => join(folder, "refs", ...revision.split("/")),
    snapshot: (commit) => join(folder, "snapshots", commit),
  };
};

/** The snapshot in the cache that a revision (a branch, a tag or a commit) names, if it is there. */
const cachedSnapshot = ({ reference, snapshot }: Repository, revision: string): string | undefined => {
  const file = reference(revision);
  const isReference = statSync(file, { throwIfNoEntry: false })?.isFile() === true;
  const folder = snapshot(isReference ? readFileSync(file, "utf8").trim() : revision);
  return statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true ? folder : undefined;
};

/** Whether a snapshot has what a model needs; an interrupted download lacks weights, as they are fetched last. */
const isWhole = (snapshot: string): boolean => {
  // existsSync follows links: one whose blob is missing counts as missing.
  const names = new Set(readdirSync(snapshot).filter((name) => existsSync(join(snapshot, name))));
  if (!names.has("config.json") || !names.has("tokenizer.json")) return false;
  if (names.has("model.safetensors")) return true;
  if (!names.has("model.safetensors.index.json")) return false;
  const index = readFileSync(join(snapshot, "model.safetensors.index.json"), "utf8");
  const shards = [...index.matchAll(/"([\w.-]+\.safetensors)"/g)].map(([, shard = ""]) => shard);
  return shards.length > 0 && shards.every((shard) => names.has(shard));
};

const HINTS: Readonly<Record<number, string>> = {
  401: "It does not exist, or is private or gated: check the spelling, or set HF_TOKEN to a token that may read it.",
  403: "It is gated: accept its terms on its page, and set HF_TOKEN to your token.",
  404: "There is no such model or revision: check the spelling, or set HF_TOKEN if it is private.",
};
const DISK = new Set<unknown>(["ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "ENOTDIR", "EEXIST"]);

/** The first word there is on why a request failed: `fetch failed` hides it in its cause. */
const reasonOf = (error: unknown): string => {
  const cause = error instanceof Error ? error.cause : undefined;
  const code = cause instanceof Error && "code" in cause ? `${String(cause.code)}, ` : "";
  return code + oneLine(messageOf(error), 120);
};

const failure = (spec: string, endpoint: string, error: unknown): unknown => {
  if (error instanceof ZerothError) return error;
  if (error instanceof Error && "code" in error && DISK.has(error.code)) return writeError(hubCache(), error);
  const status =
    error instanceof Error && "statusCode" in error && typeof error.statusCode === "number"
      ? error.statusCode
      : undefined;
  const why = status === undefined ? reasonOf(error) : `the answer was ${status}`;
  const hint =
    HINTS[status ?? 0] ?? "Check the connection (and HF_ENDPOINT), or give a folder or .gguf file of this machine.";
  return new ZerothError(
    `There is no folder ${spec} here, and from ${endpoint} it could not be fetched: ${why}.\n${hint}`,
    { cause: error },
  );
};

/** Requests that only ask about files should be answered soon; downloads may take their time. */
const ANSWER_MILLISECONDS = 8000;
const briskFetch: typeof fetch = (input, init) =>
  fetch(input, { ...init, signal: AbortSignal.timeout(ANSWER_MILLISECONDS) });

interface Access {
  readonly hubUrl: string;
  readonly accessToken?: string;
}

/** Fetches one file into `blobs/`, from where a partial download of it ended, and checks that it is what was announced. */
const fetchBlob = async (
  repository: Repository,
  commit: string,
  { path, size, lfs }: ListFileEntry,
  blobFile: string,
  access: Access,
  onProgress: Progress,
): Promise<void> => {
  const partial = `${blobFile}.incomplete`;
  const repo = { type: "model", name: repository.name } as const;
  const blob = await downloadFile({ repo, path, revision: commit, ...access });
  if (blob === null) throw new Error(`${path} is listed but absent`);
  const total = lfs?.size ?? size;
  const had = statSync(partial, { throwIfNoEntry: false })?.size ?? 0;
  let done = had <= total ? had : 0;
  const counter = new Transform({
    transform(chunk: Uint8Array, _encoding, next) {
      done += chunk.length;
      onProgress({ file: path, done, total });
      next(null, chunk);
    },
  });
  if (done < total || total === 0) {
    const rest = done === 0 ? blob : blob.slice(done, total);
    await pipeline(
      Readable.fromWeb(rest.stream()),
      counter,
      createWriteStream(partial, { flags: done === 0 ? "w" : "a" }),
    );
  }
  const found = lfs === undefined ? undefined : createHash("sha256");
  if (found !== undefined) for await (const chunk of createReadStream(partial)) found.update(chunk);
  if (done !== total || (found !== undefined && found.digest("hex") !== lfs?.oid)) {
    await rm(partial, { force: true });
    throw new Error(`${path} arrived damaged (${done} of ${total} bytes)`);
  }
  await rename(partial, blobFile);
};

/** Puts a file into a snapshot: a link into `blobs/`, a copy where there are no links. */
const place = async (blobFile: string, file: string): Promise<void> => {
  await rm(file, { force: true });
  await symlink(relative(dirname(file), blobFile), file).catch(() => copyFile(blobFile, file));
};

/** Downloads what a model needs of a revision; files that are in the cache already are not fetched again. */
const download = async (
  repository: Repository,
  revision: string,
  access: Access,
  onProgress: Progress,
): Promise<string> => {
  const { name } = repository;
  const { sha } = await modelInfo({ name, revision, additionalFields: ["sha"], fetch: briskFetch, ...access });
  const listed: ListFileEntry[] = [];
  for await (const entry of listFiles({ repo: { type: "model", name }, revision: sha, fetch: briskFetch, ...access })) {
    if (entry.type === "file") listed.push(entry);
  }
  const needed = listed.filter(({ path }) => NEEDED.test(path));
  if (!needed.some(({ path }) => path === "config.json")) {
    const gguf = listed.find(({ path }) => path.endsWith(".gguf"));
    throw new ZerothError(
      gguf === undefined
        ? `${name} has no config.json on the hub: it is not a model in Hugging Face's layout.`
        : `${name} holds GGUF files. Download one of them (${gguf.path}, for one) and give its path.`,
    );
  }
  if (!needed.some(({ path }) => isWeights(path))) {
    throw new ZerothError(`${name} has no model.safetensors on the hub. Look for a copy of the model in that format.`);
  }
  const whole = needed.some(({ path }) => path === "model.safetensors");
  const wanted = needed
    // Some repositories hold the model twice, whole and in shards.
    .filter(({ path }) => !whole || path === "model.safetensors" || !path.includes(".safetensors"))
    .sort((a, b) => Number(isWeights(a.path)) - Number(isWeights(b.path)) || (a.path < b.path ? -1 : 1));
  const snapshot = repository.snapshot(sha);
  await mkdir(snapshot, { recursive: true });
  await mkdir(dirname(repository.blob("x")), { recursive: true });
  for (const entry of wanted) {
    const file = join(snapshot, entry.path);
    if (existsSync(file)) continue;
    const etag = entry.lfs?.oid ?? entry.xetHash ?? entry.oid ?? "";
    if (!/^\w+$/.test(etag)) throw new Error(`${entry.path} is listed without its hash`);
    const blobFile = repository.blob(etag);
    if (!existsSync(blobFile)) await fetchBlob(repository, sha, entry, blobFile, access, onProgress);
    await place(blobFile, file);
  }
  if (sha !== revision) {
    const reference = repository.reference(revision);
    await mkdir(dirname(reference), { recursive: true });
    await writeFile(reference, sha);
  }
  return snapshot;
};

/**
 * The folder of a hub model in the standard Hugging Face cache. A whole snapshot in the cache is used without the network;
 * otherwise what is missing is downloaded, a partial download from where it ended. `HF_ENDPOINT`, `HF_TOKEN`,
 * `HF_HUB_OFFLINE` and the cache's variables count.
 *
 * @throws ZerothError when it cannot be fetched
 */
export const fetchFromHub = async (spec: string, onProgress: Progress = () => {}): Promise<string> => {
  const [, name = "", revision = "main"] = HUB_ID.exec(spec) ?? [];
  const repository = repositoryOf(name);
  const hubUrl = (variable("HF_ENDPOINT") ?? HUB_URL).replace(/\/+$/, "");
  const accessToken = variable("HF_TOKEN");
  try {
    const cached = cachedSnapshot(repository, revision);
    if (cached !== undefined && isWhole(cached)) return cached;
    if (/^(1|true|yes|on)$/i.test(variable("HF_HUB_OFFLINE") ?? "")) {
      throw new ZerothError(
        `There is no folder ${spec} here, and the cache ${hubCache()} does not hold the whole model.\nHF_HUB_OFFLINE forbids to fetch it: unset it once, or give a folder.`,
      );
    }
    return await download(repository, revision, { hubUrl, ...(accessToken ? { accessToken } : {}) }, onProgress);
  } catch (error) {
    throw failure(spec, hubUrl, error);
  }
};
