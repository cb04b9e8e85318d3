import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ZerothError } from "../errors.js";

/** What may be written at a path (`check` throws ZerothError, usage), and how half of it is taken away again. */
export const places = {
  file: {
    check(out: string): void {
      if (existsSync(out))
        throw new ZerothError(`--out ${out} is there already.\nGive the name of a new file.`, { kind: "usage" });
    },
    // Files are whole or not there.
    clear: (_: string): void => undefined,
  },
  folder: {
    check(out: string): void {
      if (existsSync(out) && readdirSync(out).length > 0)
        throw new ZerothError(`--out ${out} is not empty.\nGive an empty or new folder.`, { kind: "usage" });
    },
    /** It was empty or not there: what is in it is half of what was to be. */
    clear(out: string): void {
      for (const name of existsSync(out) ? readdirSync(out) : [])
        rmSync(join(out, name), { recursive: true, force: true });
    },
  },
};
