import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, existsSync, statSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { downloadFile, HUB_URL, type ListFileEntry, listFiles, modelInfo } from "@huggingface/hub";
import { writeError } from "../atomic.js";
import { messageOf, ZerothError } from "../errors.js";
import { oneLine } from "../one-line.js";
import { type Contents, chooseFile } from "./choose.js";
import {
  cachedCommit,
  hubCache,
  isWhole,
  keptListing,
  noteDownload,
  pathsIn,
  place,
  type Repository,
  repositoryOf,
  variable,
} from "./hub-cache.js";
import { filesOf, isPlain } from "./hub-files.js";
import { readJson } from "./json.js";

/** What is told of a download: bytes of a file so far, and in all. */
export type Progress = (progress: { file: string; done: number; total: number | undefined }) => void;

/**
 * `org/name` or `org/name@revision`, and after a colon a file of the repository, where one is meant. All their parts begin
 * with a letter or digit, so that no path is one.
 */
const HUB_ID =
  /^(\w[\w.-]*\/\w[\w.-]*)(?:@(\w[\w.-]*(?:\/\w[\w.-]*)*))?(?::((?:\w[\w.+-]*\/)*\w[\w.+-]*\.(?:gguf|onnx)))?$/;

export const isHubId = (spec: string): boolean => HUB_ID.test(spec);

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

/** What a model is called on the hub. */
interface Wanted {
  readonly repository: Repository;
  readonly revision: string;
  /** The file that is named, where one is. */
  readonly named: string | undefined;
  /** How another file of it would be named. */
  readonly spell: Contents["spell"];
}

/** A model that is here: a snapshot, and the GGUF or ONNX file of it that is the model; none for safetensors. */
interface Fetched {
  readonly folder: string;
  readonly file: string | undefined;
}

/** Downloads what a model needs of a revision; files that are in the cache already are not fetched again. */
const download = async (
  { repository, revision, named, spell }: Wanted,
  access: Access,
  onProgress: Progress,
): Promise<Fetched> => {
  const { name } = repository;
  const { sha } = await modelInfo({ name, revision, additionalFields: ["sha"], fetch: briskFetch, ...access });
  // It becomes a folder's name.
  if (!/^\w+$/.test(sha)) throw new Error(`${oneLine(sha, 80)} is no commit`);
  const entries = new Map<string, ListFileEntry>();
  const listing = { repo: { type: "model", name }, revision: sha, recursive: true, fetch: briskFetch } as const;
  for await (const entry of listFiles({ ...listing, ...access })) {
    if (entry.type === "file" && isPlain(entry.path)) entries.set(entry.path, entry);
  }
  const folder = repository.snapshot(sha);
  const fetchFile = async (path: string): Promise<string> => {
    const [file, entry] = [join(folder, path), entries.get(path)];
    if (existsSync(file)) return file;
    const etag = entry?.lfs?.oid ?? entry?.xetHash ?? entry?.oid ?? "";
    if (entry === undefined || !/^\w+$/.test(etag)) throw new Error(`${path} is listed without its hash`);
    const blobFile = repository.blob(etag);
    await mkdir(dirname(blobFile), { recursive: true });
    if (!existsSync(blobFile)) await fetchBlob(repository, sha, entry, blobFile, access, onProgress);
    await place(blobFile, file);
    return file;
  };
  const contents: Contents = {
    name,
    paths: [...entries.keys()].sort(),
    readJson: async (path) => readJson(await fetchFile(path)),
    spell,
  };
  const file = named ?? (await chooseFile(contents));
  for (const path of filesOf(contents, file)) await fetchFile(path);
  await noteDownload(repository, revision, sha, contents.paths);
  return { folder, file };
};

/** The model as the cache has it, if it has all of it. */
const fromCache = async (
  { repository, revision, named, spell }: Wanted,
  isOffline: boolean,
): Promise<Fetched | undefined> => {
  const commit = cachedCommit(repository, revision);
  if (commit === undefined) return undefined;
  const folder = repository.snapshot(commit);
  if (named === undefined && isWhole(folder)) return { folder, file: undefined };
  // Without the network, what other programs put there is all that there is.
  const paths = keptListing(repository, commit) ?? (isOffline ? pathsIn(folder) : undefined);
  if (paths === undefined) return undefined;
  const contents: Contents = {
    name: repository.name,
    paths,
    readJson: async (path) => readJson(join(folder, path)),
    spell,
  };
  const file = named ?? (await chooseFile(contents));
  if (file === undefined || !paths.includes(file)) return undefined;
  return filesOf(contents, file).every((path) => existsSync(join(folder, path))) ? { folder, file } : undefined;
};

/**
 * A hub model in the standard Hugging Face cache. A whole snapshot in the cache is used without the network; otherwise what
 * is missing is downloaded, a partial download from where it ended. `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` and the
 * cache's variables count.
 *
 * @throws ZerothError when it cannot be fetched
 */
export const fetchFromHub = async (spec: string, onProgress: Progress = () => {}): Promise<Fetched> => {
  const [, name = "", revision = "main", named] = HUB_ID.exec(spec) ?? [];
  const [id = spec] = spec.split(":");
  const wanted: Wanted = { repository: repositoryOf(name), revision, named, spell: (path) => `${id}:${path}` };
  const hubUrl = (variable("HF_ENDPOINT") ?? HUB_URL).replace(/\/+$/, "");
  const accessToken = variable("HF_TOKEN");
  const isOffline = /^(1|true|yes|on)$/i.test(variable("HF_HUB_OFFLINE") ?? "");
  try {
    const cached = await fromCache(wanted, isOffline).catch((error: unknown) => {
      // What is wrong with a repository, the hub's own list of its files tells better.
      if (isOffline) throw error;
    });
    if (cached !== undefined) return cached;
    if (isOffline) {
      throw new ZerothError(
        `There is no folder ${spec} here, and the cache ${hubCache()} does not hold the whole model.\nHF_HUB_OFFLINE forbids to fetch it: unset it once, or give a folder.`,
      );
    }
    return await download(wanted, { hubUrl, ...(accessToken ? { accessToken } : {}) }, onProgress);
  } catch (error) {
    throw failure(spec, hubUrl, error);
  }
};
