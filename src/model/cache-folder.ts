import { homedir } from "node:os";
import { join } from "node:path";

/** Where what can be made again is kept: `~/.cache/zeroth`, or in `XDG_CACHE_HOME`. */
export const cacheFolder = (): string => join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "zeroth");
