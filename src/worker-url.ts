/**
 * URL of a worker script beside the calling module. Workers run built code, so when the TypeScript sources run (tests)
 * the built twin under `dist/` is used.
 */
export const workerUrl = (relative: string, base: string): URL => new URL(relative, base.replace("/src/", "/dist/"));
