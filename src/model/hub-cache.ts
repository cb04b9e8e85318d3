import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { copyFile, mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, relative, sep } from "node:path";
import { isPlain } from "./hub-files.js";

/* The standard Hugging Face cache, where and as Python's library has it. */

/** Empty variables count as unset, as in Python's library. */
export const variable = (...names: readonly string[]): string | undefined =>
  names.map((name) => process.env[name]).find((value) => value !== undefined && value !== "");

export const hubCache = (): string => {
  const caches = variable("XDG_CACHE_HOME") ?? join(homedir(), ".cache");
  return (
    variable("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") ?? join(variable("HF_HOME") ?? join(caches, "huggingface"), "hub")
  );
};

/** The cache's places of a repository. */
export interface Repository {
  readonly name: string;
  readonly blob: (etag: string) => string;
  readonly reference: (revision: string) => string;
  readonly snapshot: (commit: string) => string;
  /** Ours: which files a commit has. A snapshot holds some of them, which do not tell what would be chosen among all. */
  readonly listing: (commit: string) => string;
}

export const repositoryOf = (name: string): Repository => {
  const folder = join(hubCache(), `models--${name.replace("/", "--")}`);
  return {
    name,
    blob: (etag) => join(folder, "blobs", etag),
    reference: (revision) => join(folder, "refs", ...revision.split("/")),
    snapshot: (commit) => join(folder, "snapshots", commit),
    listing: (commit) => join(folder, ".listings", `${commit}.json`),
  };
};

/** The commit that a revision (a branch, a tag or a commit) names, if the cache has files of it. */
export const cachedCommit = ({ reference, snapshot }: Repository, revision: string): string | undefined => {
  const file = reference(revision);
  const isReference = statSync(file, { throwIfNoEntry: false })?.isFile() === true;
  const commit = isReference ? readFileSync(file, "utf8").trim() : revision;
  return statSync(snapshot(commit), { throwIfNoEntry: false })?.isDirectory() === true ? commit : undefined;
};

/** Whether a snapshot has what a model in safetensors needs; an interrupted download lacks weights, as they are fetched last. */
export const isWhole = (snapshot: string): boolean => {
  // existsSync follows links: one whose blob is missing counts as missing.
  const names = new Set(readdirSync(snapshot).filter((name) => existsSync(join(snapshot, name))));
  if (!names.has("config.json") || !names.has("tokenizer.json")) return false;
  if (names.has("model.safetensors")) return true;
  if (!names.has("model.safetensors.index.json")) return false;
  const index = readFileSync(join(snapshot, "model.safetensors.index.json"), "utf8");
  const shards = [...index.matchAll(/"([\w.-]+\.safetensors)"/g)].map(([, shard = ""]) => shard);
  return shards.length > 0 && shards.every((shard) => names.has(shard));
};

/** The paths that a snapshot holds. */
export const pathsIn = (snapshot: string): readonly string[] =>
  readdirSync(snapshot, { recursive: true, encoding: "utf8" })
    .filter((path) => existsSync(join(snapshot, path)))
    .map((path) => path.replaceAll(sep, "/"))
    .filter(isPlain);

/** The paths of a commit, if a download kept them. */
export const keptListing = ({ listing }: Repository, commit: string): readonly string[] | undefined => {
  try {
    const value: unknown = JSON.parse(readFileSync(listing(commit), "utf8"));
    return Array.isArray(value) ? value.filter(isPlain) : undefined;
  } catch {
    return undefined;
  }
};

/** Notes that a download is complete: what its revision is, and what there was to choose from. */
export const noteDownload = async (
  { reference, listing }: Repository,
  revision: string,
  commit: string,
  paths: readonly string[],
): Promise<void> => {
  const notes: readonly (readonly [file: string, content: string])[] = [
    [listing(commit), JSON.stringify(paths)],
    ...(commit === revision ? [] : [[reference(revision), commit] as const]),
  ];
  for (const [file, content] of notes) {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, content);
  }
};

/** Puts a file into a snapshot: a link into `blobs/`, a copy where there are no links. */
export const place = async (blobFile: string, file: string): Promise<void> => {
  await mkdir(dirname(file), { recursive: true });
  await rm(file, { force: true });
  await symlink(relative(dirname(file), blobFile), file).catch(() => copyFile(blobFile, file));
};
